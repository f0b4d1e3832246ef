//! The rights that watching needs.

/// `capability.h`.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
/// The descriptors that identify a key are opened with `O_PATH` wherever the key lies.
const CAP_DAC_READ_SEARCH: u32 = 2;

/// A sentence that names the missing capabilities, or `None` when nothing is missing.
#[must_use]
pub fn missing_rights() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    missing(effective)
}

fn missing(effective: u64) -> Option<String> {
    let has = |capability: u32| effective & (1 << capability) != 0;
    if has(CAP_SYS_ADMIN) && has(CAP_DAC_READ_SEARCH) {
        return None;
    }
    let mut names = Vec::new();
    if !has(CAP_BPF) {
        names.push("CAP_BPF");
    }
    if !has(CAP_PERFMON) {
        names.push("CAP_PERFMON");
    }
    if !has(CAP_DAC_READ_SEARCH) {
        names.push("CAP_DAC_READ_SEARCH");
    }
    // BTF ids of kernel functions and objects by id need it still (`bpf_prog_load_check_attach`, `bpf_iter`).
    if !has(CAP_SYS_ADMIN) {
        names.push("CAP_SYS_ADMIN");
    }
    Some(format!(
        "this process lacks {}: it may not load eBPF programs; run dkimwatch as root, or give its service these capabilities",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_lacks_nothing_and_nobody_is_told_what() {
        assert_eq!(missing(u64::MAX), None);
        let sentence = missing(0).expect("everything is missing");
        assert!(sentence.contains("CAP_BPF") && sentence.contains("CAP_SYS_ADMIN"), "{sentence}");
        let sentence = missing(1 << CAP_BPF).expect("some are missing");
        assert!(!sentence.contains("CAP_BPF,") && sentence.contains("CAP_PERFMON"), "{sentence}");
    }
}
