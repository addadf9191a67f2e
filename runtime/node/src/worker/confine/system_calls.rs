//! System calls: those that tokio, wasmtime and the files of WASI need, and no others. What is left out fails with
//! EPERM: no program is executed, no process made, traced or signalled, no socket opened to anywhere, nothing mounted,
//! no key, BPF program or kernel module touched.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare, SeccompCondition as Condition,
    SeccompFilter, SeccompRule,
};

/// Allowed whatever their arguments are. They act on the process itself, or on descriptors it has.
const ALLOWED: &[libc::c_long] = &[
    // Bytes.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    // Sockets that are there: the node's. A pair leads nowhere else.
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    // Not the call that sends descriptors: those on their way count for all processes of a user, the node among them.
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_socketpair,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    // Memory.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_memfd_create,
    libc::SYS_membarrier,
    libc::SYS_getrandom,
    // Threads and signals of its own.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Files, of which Landlock leaves it few.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_utimensat,
    // Refused by a filter of its own, in a way that makes the C library ask differently.
    libc::SYS_clone3,
];

/// The older forms that the C library of this processor still uses.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_readlink,
    libc::SYS_time,
];
#[cfg(target_arch = "riscv64")]
const OLDER: &[libc::c_long] = &[libc::SYS_riscv_flush_icache];
#[cfg(not(any(target_arch = "x86_64", target_arch = "riscv64")))]
const OLDER: &[libc::c_long] = &[];

/// What is asked of a descriptor by number.
const FCNTL: [i32; 6] =
    [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC, libc::F_ADD_SEALS];

/// `FIONBIO` and `FIOCLEX`: how a descriptor waits and is inherited.
const FIONBIO: u64 = 0x5421;
const FIOCLEX: u64 = 0x5451;
/// `PAGEMAP_SCAN`: which pages were written to.
const PAGEMAP_SCAN: u64 = 0xc060_6610;
/// `PR_SET_VMA`: the C library names its memory.
const PR_SET_VMA: u64 = 0x5356_4d41;

pub(super) fn filter() -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    for program in programs().map_err(|error| failed(&error))? {
        seccompiler::apply_filter(&program).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn programs() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(OLDER).map(|call| (*call, Vec::new())).collect();
    allowed.extend(limited()?);
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let allow = SeccompFilter::new(allowed, denied, SeccompAction::Allow, arch)?;
    // Its arguments lie in memory, which no filter sees; the C library then takes `clone`, whose flags it does see.
    let newer = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let newer = SeccompFilter::new(newer, SeccompAction::Allow, unknown, arch)?;
    // In this order: the other one forbids to install any more.
    Ok([newer.try_into()?, allow.try_into()?])
}

/// Allowed with these arguments only.
fn limited() -> Result<Vec<(i64, Vec<SeccompRule>)>, seccompiler::BackendError> {
    let is = |index: u8, length: Length, value: u64| Condition::new(index, length, Compare::Eq, value);
    let thread = Compare::MaskedEq(libc::CLONE_THREAD.unsigned_abs().into());
    let thread = Condition::new(0, Length::Qword, thread, libc::CLONE_THREAD.unsigned_abs().into())?;
    let ioctl = |request: u64| SeccompRule::new(vec![is(1, Length::Dword, request)?]);
    let fcntl = |command: i32| SeccompRule::new(vec![is(1, Length::Dword, command.unsigned_abs().into())?]);
    let prctl = |option: u64| SeccompRule::new(vec![is(0, Length::Dword, option)?]);
    let own = u64::from(std::process::id());
    Ok(vec![
        // Threads, not processes.
        (libc::SYS_clone, vec![SeccompRule::new(vec![thread])?]),
        // Nicer, and itself only: `PRIO_PROCESS` of 0.
        (libc::SYS_setpriority, vec![SeccompRule::new(vec![is(0, Length::Dword, 0)?, is(1, Length::Dword, 0)?])?]),
        (libc::SYS_getpriority, vec![SeccompRule::new(vec![is(0, Length::Dword, 0)?, is(1, Length::Dword, 0)?])?]),
        // How a descriptor is, and another number for it. Not whom it signals: that may be any process of the same user.
        (libc::SYS_fcntl, FCNTL.iter().map(|command| fcntl(*command)).collect::<Result<_, _>>()?),
        (libc::SYS_ioctl, vec![ioctl(FIONBIO)?, ioctl(FIOCLEX)?, ioctl(PAGEMAP_SCAN)?]),
        (libc::SYS_prctl, vec![prctl(libc::PR_SET_NAME.unsigned_abs().into())?, prctl(PR_SET_VMA)?]),
        // To read a limit, not to set one.
        (libc::SYS_prlimit64, vec![SeccompRule::new(vec![is(2, Length::Qword, 0)?])?]),
        // To abort, itself.
        (libc::SYS_tgkill, vec![SeccompRule::new(vec![is(0, Length::Dword, own)?])?]),
    ])
}
