//! Names of capabilities.

/// A capability's name: capabilities(7), by number (`include/uapi/linux/capability.h`).
pub(super) fn capability(bit: usize) -> String {
    const NAMES: [&str; 41] = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    NAMES.get(bit).map_or_else(|| format!("CAP_{bit}"), |name| format!("CAP_{name}"))
}

#[cfg(test)]
mod tests {
    use super::capability;

    #[test]
    fn numbers_are_the_kernels() {
        // include/uapi/linux/capability.h
        assert_eq!(capability(1), "CAP_DAC_OVERRIDE");
        assert_eq!(capability(2), "CAP_DAC_READ_SEARCH");
        assert_eq!(capability(21), "CAP_SYS_ADMIN");
        assert_eq!(capability(39), "CAP_BPF");
        assert_eq!(capability(40), "CAP_CHECKPOINT_RESTORE");
        assert_eq!(capability(63), "CAP_63");
    }
}
