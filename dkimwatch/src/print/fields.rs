//! The ECS fields that we write, and their types (Elastic Common Schema 9, its field reference).

/// The version of ECS whose field names and types are used (`ecs.version`).
pub const ECS_VERSION: &str = "9.0.0";

/// A field's type in ECS, as a JSON value shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A string.
    Keyword,
    /// A list of strings.
    Keywords,
    /// An integer.
    Long,
    /// An RFC 3339 string.
    Date,
    /// An object of strings.
    Object,
}

/// Every ECS field that we write. A test refuses any other field that is not below `dkimwatch.`.
pub const FIELDS: &[(&str, FieldType)] = {
    use FieldType::{Date, Keyword, Keywords, Long, Object};
    &[
        ("@timestamp", Date),
        ("agent.type", Keyword),
        ("agent.version", Keyword),
        ("container.id", Keyword),
        ("container.image.hash.all", Keywords),
        ("container.image.name", Keyword),
        ("container.image.tag", Keywords),
        ("container.labels", Object),
        ("container.name", Keyword),
        ("container.runtime", Keyword),
        ("ecs.version", Keyword),
        ("event.action", Keyword),
        ("event.category", Keywords),
        ("event.code", Keyword),
        ("event.dataset", Keyword),
        ("event.duration", Long),
        ("event.end", Date),
        ("event.id", Keyword),
        ("event.kind", Keyword),
        ("event.module", Keyword),
        ("event.outcome", Keyword),
        ("event.provider", Keyword),
        ("event.reason", Keyword),
        ("event.sequence", Long),
        ("event.severity", Long),
        ("event.start", Date),
        ("event.type", Keywords),
        ("file.device", Keyword),
        ("file.directory", Keyword),
        ("file.extension", Keyword),
        ("file.gid", Keyword),
        ("file.inode", Keyword),
        ("file.mode", Keyword),
        ("file.name", Keyword),
        ("file.path", Keyword),
        ("file.type", Keyword),
        ("file.uid", Keyword),
        ("host.architecture", Keyword),
        ("host.boot.id", Keyword),
        ("host.hostname", Keyword),
        ("host.id", Keyword),
        ("host.name", Keyword),
        ("host.os.kernel", Keyword),
        ("host.os.name", Keyword),
        ("host.os.type", Keyword),
        ("host.os.version", Keyword),
        ("host.pid_ns_ino", Keyword),
        ("orchestrator.namespace", Keyword),
        ("orchestrator.resource.id", Keyword),
        ("orchestrator.resource.name", Keyword),
        ("orchestrator.resource.type", Keyword),
        ("orchestrator.type", Keyword),
        ("process.args", Keywords),
        ("process.args_count", Long),
        ("process.entity_id", Keyword),
        ("process.entry_leader.entity_id", Keyword),
        ("process.entry_leader.entry_meta.type", Keyword),
        ("process.entry_leader.executable", Keyword),
        ("process.entry_leader.name", Keyword),
        ("process.entry_leader.pid", Long),
        ("process.entry_leader.real_user.id", Keyword),
        ("process.entry_leader.start", Date),
        ("process.executable", Keyword),
        ("process.group.id", Keyword),
        ("process.group.name", Keyword),
        ("process.name", Keyword),
        ("process.parent.entity_id", Keyword),
        ("process.parent.executable", Keyword),
        ("process.parent.name", Keyword),
        ("process.parent.pid", Long),
        ("process.parent.real_user.id", Keyword),
        ("process.parent.start", Date),
        ("process.pid", Long),
        ("process.real_group.id", Keyword),
        ("process.real_user.id", Keyword),
        ("process.real_user.name", Keyword),
        ("process.saved_user.id", Keyword),
        ("process.start", Date),
        ("process.thread.capabilities.effective", Keywords),
        ("process.thread.id", Long),
        ("process.user.id", Keyword),
        ("process.user.name", Keyword),
        ("process.vpid", Long),
        ("related.hosts", Keywords),
        ("related.user", Keywords),
        ("rule.id", Keyword),
        ("rule.ruleset", Keyword),
        ("threat.framework", Keyword),
        ("threat.tactic.id", Keywords),
        ("threat.tactic.name", Keywords),
        ("threat.technique.id", Keywords),
        ("threat.technique.name", Keywords),
        ("threat.technique.subtechnique.id", Keywords),
        ("threat.technique.subtechnique.name", Keywords),
        ("user.effective.id", Keyword),
        ("user.effective.name", Keyword),
        ("user.id", Keyword),
        ("user.name", Keyword),
    ]
};

/// Checks that a document has only fields of the list or below `dkimwatch.`, each of its type.
///
/// # Errors
/// The first field that is not so, in words.
#[doc(hidden)]
pub fn check_schema(document: &serde_json::Value) -> Result<(), String> {
    use serde_json::Value;
    fn walk(prefix: &str, value: &Value) -> Result<(), String> {
        if prefix == "dkimwatch" {
            return Ok(());
        }
        let Some((_, kind)) = FIELDS.iter().find(|(name, _)| *name == prefix) else {
            let Value::Object(object) = value else { return Err(format!("{prefix} is no field of ECS that we know")) };
            return object.iter().try_for_each(|(name, inner)| {
                walk(&if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") }, inner)
            });
        };
        let right = match kind {
            FieldType::Keyword => value.is_string(),
            FieldType::Keywords => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
            FieldType::Long => value.is_u64() || value.is_i64(),
            FieldType::Object => value.as_object().is_some_and(|object| object.values().all(Value::is_string)),
            FieldType::Date => value.as_str().is_some_and(|text| chrono::DateTime::parse_from_rfc3339(text).is_ok()),
        };
        if right { Ok(()) } else { Err(format!("{prefix} is {value}, which is no {kind:?}")) }
    }
    walk("", document)?;
    // ECS: what a valid document must have.
    for required in ["/@timestamp", "/ecs/version", "/event/kind", "/event/category", "/event/type", "/event/outcome"] {
        document.pointer(required).ok_or_else(|| format!("{required} is missing"))?;
    }
    Ok(())
}
