//! The prototype above each hook, against the running kernel's own description of the function.
//!
//! A comment gives the form of today; it may tell of another (`until 4.18 it had a second argument, …`, `since 6.16 with a
//! second argument, …`, `the LSM hook has no flags`) and from when the function exists (`6.10 and later`). A vendor's
//! kernel has newer forms than its number says, so any form that the comment tells of will do. One that names an option ((`CONFIG_DEVMEM`)) may be
//! missing.

use std::{fs, path::Path};

use btf_rs::{Btf, FuncProto, Type};

use crate::kernel::offsets::{self, VMLINUX};

/// A hook, as its source has it.
#[derive(Debug)]
struct Hook {
    /// File and function.
    place: String,
    at: At,
    /// The comment above it, in one line; where that says "As above", the one above too.
    comment: String,
    body: String,
}

/// Where a hook is attached.
#[derive(Debug, PartialEq)]
enum At {
    Lsm(String),
    Fentry(String),
    Fexit(String),
    BtfTracepoint(String),
    Tracepoint,
    Iterator(String),
}

/// A C prototype without the arguments' names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prototype {
    name: String,
    /// A tracepoint has none.
    returns: Option<String>,
    arguments: Vec<String>,
}

fn hooks() -> Vec<Hook> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dkimwatch-ebpf/src/hooks");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| hooks_of(&file.file_name().unwrap().to_string_lossy(), &fs::read_to_string(file).unwrap()))
        .collect()
}

fn hooks_of(file: &str, source: &str) -> Vec<Hook> {
    let mut hooks: Vec<Hook> = Vec::new();
    let (mut comment, mut at) = (String::new(), None);
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
        } else if line.starts_with("#[") {
            at = at.or_else(|| attached_at(line));
        } else {
            if let (Some(rest), Some(at)) = (line.strip_prefix("fn "), at.take()) {
                let name = rest.split('(').next().unwrap();
                if comment.trim_start().starts_with("As above") {
                    comment.push_str(&hooks.last().expect("something above").comment);
                }
                let body = lines.by_ref().take_while(|line| *line != "}").collect::<Vec<_>>().join("\n");
                hooks.push(Hook { place: format!("{file}: {name}"), at, comment: std::mem::take(&mut comment), body });
            }
            (comment, at) = (String::new(), None);
        }
    }
    hooks
}

fn attached_at(attribute: &str) -> Option<At> {
    let quoted = || attribute.split('"').nth(1).map(str::to_owned).unwrap_or_default();
    let word = attribute.trim_start_matches("#[").split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    match word {
        "lsm" => Some(At::Lsm(quoted())),
        "fentry" => Some(At::Fentry(quoted())),
        "fexit" => Some(At::Fexit(quoted())),
        // A raw tracepoint has the same prototype, of which a module's may be absent from the kernel's own types.
        "btf_tracepoint" | "raw_tracepoint" => Some(At::BtfTracepoint(quoted())),
        "tracepoint" => Some(At::Tracepoint),
        _ => quoted().strip_prefix("iter/").map(|over| At::Iterator(over.to_owned())),
    }
}

/// What stands in backticks.
fn spans(comment: &str) -> impl Iterator<Item = &str> {
    comment.split('`').skip(1).step_by(2)
}

/// `struct file *file` without its name.
fn argument(text: &str) -> String {
    let kind = text.trim().trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').trim();
    // A macro (`include/linux/types.h`), of which BTF knows nothing.
    kind.trim_start_matches("const ").replace("pgoff_t", "unsigned long")
}

fn prototype(text: &str) -> Option<(Prototype, Vec<String>)> {
    let (head, arguments) = text.strip_suffix(')')?.split_once('(')?;
    let (returns, name) = match head.trim().rsplit_once(' ') {
        Some((returns, name)) => {
            // The stars of a pointer stand at the name.
            let bare = name.trim_start_matches('*');
            let returns = format!("{returns} {}", "*".repeat(name.len() - bare.len()));
            (Some(returns.trim_end().to_owned()), bare)
        }
        None => (None, head.trim()),
    };
    let named: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let names = named.iter().map(|one| one.rsplit([' ', '*']).next().unwrap_or_default().to_owned()).collect();
    let arguments = named.into_iter().map(argument).collect();
    Some((Prototype { name: name.to_owned(), returns, arguments }, names))
}

impl Hook {
    /// Every form that the comment tells of, today's first.
    fn forms(&self) -> Vec<Prototype> {
        // `notify_change()` is a mention.
        let mut whole: Vec<Prototype> = spans(&self.comment)
            .filter(|span| !span.ends_with("()"))
            .filter_map(|span| Some(prototype(span)?.0))
            .collect();
        let first = whole.first().map(|form| form.name.clone());
        whole.retain(|form| Some(&form.name) == first.as_ref());
        if whole.len() > 1 {
            return whole;
        }
        let (mut form, names) = spans(&self.comment)
            .find_map(prototype)
            .unwrap_or_else(|| panic!("{}: no prototype in its comment: {}", self.place, self.comment));
        if let (At::Lsm(_), Some((_, rest))) = (&self.at, self.comment.split_once("the LSM hook has no ")) {
            let word = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            let position = names.iter().position(|name| name == word);
            form.arguments.remove(position.unwrap_or_else(|| panic!("{}: no argument {word}", self.place)));
        }
        let mut forms = vec![form.clone()];
        if let Some((_, rest)) = self.comment.split_once("a second argument, `") {
            form.arguments.push(argument(rest.split('`').next().unwrap()));
            forms.push(form);
        }
        forms
    }

    /// The kernel's version from which the function is there, where the comment names it (`6.10 and later`).
    fn since(&self) -> Option<(u32, u32)> {
        version(self.comment.split_once(" and later")?.0.rsplit(' ').next()?)
    }

    /// The numbers that stand between `before` and `)` in the body.
    fn numbers(&self, before: &str) -> Vec<usize> {
        let parts = self.body.split(before).skip(1);
        parts.filter_map(|part| part.split(')').next()?.parse().ok()).collect()
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A type as C writes it, without qualifiers.
fn spelling(btf: &Btf, kind: &Type) -> String {
    let name = || kind.as_btf_type().and_then(|kind| btf.resolve_name(kind).ok()).unwrap_or_default();
    let behind = || kind.as_btf_type().and_then(|kind| btf.resolve_chained_type(kind).ok()).unwrap_or(Type::Void);
    match kind {
        Type::Void => "void".to_owned(),
        Type::Ptr(_) => match spelling(btf, &behind()) {
            inner if inner.ends_with('*') => format!("{inner}*"),
            inner => format!("{inner} *"),
        },
        Type::Const(_) | Type::Volatile(_) | Type::Restrict(_) | Type::TypeTag(_) => spelling(btf, &behind()),
        Type::Struct(_) => format!("struct {}", name()),
        Type::Union(_) => format!("union {}", name()),
        Type::Fwd(forward) if forward.is_struct() => format!("struct {}", name()),
        Type::Enum(_) | Type::Enum64(_) => format!("enum {}", name()),
        _ => match name().as_str() {
            "long unsigned int" => "unsigned long".to_owned(),
            "long int" => "long".to_owned(),
            "_Bool" => "bool".to_owned(),
            other => other.to_owned(),
        },
    }
}

/// What the kernel says of a function, or of a tracepoint's (whose first argument is the tracer's own).
fn in_kernel(btf: &Btf, symbol: &str, tracepoint: bool) -> Option<Prototype> {
    let of = |found: Type| -> Option<FuncProto> {
        let kind = match found {
            Type::Func(function) => btf.resolve_chained_type(&function).ok()?,
            Type::Typedef(alias) => {
                let Type::Ptr(pointer) = btf.resolve_chained_type(&alias).ok()? else { return None };
                btf.resolve_chained_type(&pointer).ok()?
            }
            _ => return None,
        };
        if let Type::FuncProto(prototype) = kind { Some(prototype) } else { None }
    };
    let found = btf.resolve_types_by_name(symbol).ok()?.into_iter().find_map(of)?;
    let returns = btf.resolve_type_by_id(found.return_type_id()).ok()?;
    let arguments = found.parameters.iter().skip(usize::from(tracepoint));
    let spelled = arguments.map(|argument| spelling(btf, &btf.resolve_chained_type(argument).unwrap_or(Type::Void)));
    Some(Prototype {
        name: symbol.to_owned(),
        returns: (!tracepoint).then(|| spelling(btf, &returns)),
        arguments: spelled.collect(),
    })
}

/// What is wrong with a hook on this kernel; `Ok(false)` where the kernel rightly has no such function.
fn compare(hook: &Hook, btf: &Btf, release: &str) -> Result<bool, String> {
    // What BTF calls it, and what its comment does.
    let (symbol, name) = match &hook.at {
        At::Lsm(name) => (format!("bpf_lsm_{name}"), format!("security_{name}")),
        At::Fentry(name) | At::Fexit(name) => (name.clone(), name.clone()),
        At::BtfTracepoint(name) => (format!("btf_trace_{name}"), name.clone()),
        At::Tracepoint | At::Iterator(_) => return Ok(false),
    };
    let tracepoint = matches!(hook.at, At::BtfTracepoint(_));
    let Some(kernel) = in_kernel(btf, &symbol, tracepoint) else {
        let younger = hook.since().zip(version(release)).is_some_and(|(since, now)| now < since);
        let without_bpf_lsm = matches!(hook.at, At::Lsm(_)) && in_kernel(btf, "bpf_lsm_file_open", false).is_none();
        // A part of the kernel that it can be built without.
        let optional = hook.comment.contains("(`CONFIG_");
        return if younger || without_bpf_lsm || optional {
            Ok(false)
        } else {
            Err(format!("{}: Linux {release} has no {symbol}", hook.place))
        };
    };
    let forms = hook.forms();
    let fits =
        |form: &Prototype| form.name == name && form.arguments == kernel.arguments && form.returns == kernel.returns;
    if !forms.iter().any(fits) {
        return Err(format!("{}: Linux {release} has {kernel:?}, its comment has {forms:?}", hook.place));
    }
    // The verdict of the programs before, and the function's return value, stand behind the last argument.
    let fewest = forms.iter().map(|form| form.arguments.len()).min().unwrap_or(0);
    let behind = kernel.arguments.len();
    let read = hook.numbers("ctx.arg(");
    let stray = match hook.at {
        At::Lsm(_) => read.iter().any(|index| *index >= fewest && *index != behind),
        _ => read.iter().any(|index| *index >= fewest),
    };
    let result = if matches!(hook.at, At::Fexit(_)) { hook.numbers(".add(") } else { Vec::new() };
    // Told with the id map left out.
    let idmap = kernel.arguments.iter().any(|kind| kind == "struct mnt_idmap *" || kind == "struct user_namespace *");
    let told = hook.numbers("result!(ctx, ").into_iter().map(|count| count + usize::from(idmap));
    let result: Vec<usize> = result.into_iter().chain(told).chain(hook.numbers("word!(ctx, ")).collect();
    if stray || result.iter().any(|index| *index != behind) {
        return Err(format!("{}: reads arguments {read:?} and result {result:?} of {kernel:?}", hook.place));
    }
    Ok(true)
}

#[test]
fn the_hooks_prototypes_are_this_kernels() {
    let btf = Btf::from_file(VMLINUX).expect("this kernel describes its types");
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let hooks = hooks();
    let results: Vec<_> = hooks.iter().map(|hook| compare(hook, &btf, &release)).collect();
    let wrong: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let compared = results.iter().filter(|result| **result == Ok(true)).count();
    // Three fentry hooks and the three of the process table are on every kernel that can be watched.
    assert!(compared >= 6, "only {compared} of {} hooks were found on Linux {release}", hooks.len());
}

#[test]
fn what_is_read_by_position_lies_there_on_this_kernel() {
    let btf = Btf::from_file(VMLINUX).expect("this kernel describes its types");
    let hooks = hooks();
    let mut iterators = 0;
    for hook in &hooks {
        if let At::Iterator(over) = &hook.at {
            let span = spans(&hook.comment).find(|span| span.starts_with("struct bpf_iter__")).expect(&hook.place);
            let (name, members) = span.trim_start_matches("struct ").split_once('{').expect(&hook.place);
            assert_eq!(name.trim(), format!("bpf_iter__{over}"), "{}", hook.place);
            for (word, member) in (0..).zip(members.trim_end_matches('}').split(',').map(str::trim)) {
                let at = offsets::offset_of(&btf, &format!("{}.{member}", name.trim()));
                assert_eq!(at, Some(8 * word), "{}: {member} of {name}", hook.place);
            }
            iterators += 1;
        }
    }
    assert_eq!(iterators, 2);

    // `ret` is read at a number in the sources.
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../dkimwatch-ebpf/src/syscall.rs"));
    let source = source.unwrap();
    let read_at = source.split_once("const RET: usize = ").unwrap().1.split(';').next().unwrap().parse().ok();
    assert_eq!(offsets::offset_of(&btf, "syscall_trace_exit.ret"), read_at);
}

#[test]
fn every_hook_is_read_from_the_sources() {
    let hooks = hooks();
    let all = dkimwatch_common::names::programs::ALL;
    assert_eq!(hooks.len(), all.len(), "{hooks:#?}");
    for hook in hooks {
        let name = hook.place.split(' ').next_back().unwrap();
        assert!(all.contains(&name), "{name} is not among {all:?}");
    }
}

#[test]
fn a_comment_tells_its_forms_and_a_wrong_one_is_found() {
    let btf = Btf::from_file(VMLINUX).expect("this kernel describes its types");
    let hook = |prototype: &str, body: &str| {
        let source =
            format!("/// {prototype}\n#[fentry(function = \"security_file_open\")]\nfn one(ctx: C) {{\n{body}\n}}\n");
        hooks_of("a.rs", &source).pop().unwrap()
    };
    let judged = |prototype: &str, body: &str| compare(&hook(prototype, body), &btf, "6.12.1");

    assert_eq!(judged("`int security_file_open(struct file *file)`", "ctx.arg(0)"), Ok(true));
    assert!(judged("`int security_file_open(struct inode *inode)`", "").is_err(), "another struct");
    assert!(judged("`int security_file_open(struct file *file, int flags)`", "").is_err(), "another number");
    assert!(judged("`void security_file_open(struct file *file)`", "").is_err(), "another result");
    assert!(
        judged("`int security_file_open(struct file *file)`", "ctx.arg(1)").is_err(),
        "an argument that is not there"
    );
    let older =
        "`int security_file_open(struct file *file)`; until 4.18 it had a second argument, `const struct cred *cred`.";
    let counts: Vec<_> = hook(older, "").forms().iter().map(|form| form.arguments.len()).collect();
    assert_eq!(counts, [1, 2]);

    let mut absent = hook("`a(int b)`, 6.10 and later", "");
    absent.at = At::BtfTracepoint("there_is_no_such".to_owned());
    assert_eq!(compare(&absent, &btf, "6.9.12-generic"), Ok(false));
    let error = compare(&absent, &btf, "6.10.1").unwrap_err();
    assert!(error.contains("a.rs: one") && error.contains("Linux 6.10.1"), "{error}");
}
