//! What 0.3 says of files in the words of 0.2, and the other way round.

use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types as two;
use wasmtime_wasi::p3::bindings::clocks::system_clock::Instant;
use wasmtime_wasi::p3::bindings::filesystem::types as three;
use wasmtime_wasi::p3::filesystem::FilesystemError;

/// Those of a value's flags that are named, as flags of another type.
macro_rules! flags {
    ($given:expr, $from:ty => $to:ty: $($name:ident)*) => {{
        let given = $given;
        let mut all = <$to>::empty();
        $(if given.contains(<$from>::$name) {
            all |= <$to>::$name;
        })*
        all
    }};
}

/// The case of the same name, but for those that have none.
macro_rules! same {
    ($given:expr, $from:ident::$old:ident => $to:ident::$new:ident: $($name:ident)* $(, $none:ident => $other:expr)?) => {
        match $given {
            $($from::$old::$name => $to::$new::$name,)*
            $($from::$old::$none => $other,)?
        }
    };
}

pub(super) fn error(error: FsError) -> FilesystemError {
    match error.downcast() {
        Ok(code) => error_code(code).into(),
        Err(trap) => FilesystemError::trap(trap),
    }
}

fn error_code(code: two::ErrorCode) -> three::ErrorCode {
    same!(code, two::ErrorCode => three::ErrorCode:
        Access Already BadDescriptor Busy Deadlock Quota Exist FileTooLarge IllegalByteSequence InProgress Interrupted
        Invalid Io IsDirectory Loop TooManyLinks MessageSize NameTooLong NoDevice NoEntry NoLock InsufficientMemory
        InsufficientSpace NotDirectory NotEmpty NotRecoverable Unsupported NoTty NoSuchDevice Overflow NotPermitted Pipe
        ReadOnly InvalidSeek TextFileBusy CrossDevice,
        WouldBlock => three::ErrorCode::Other(Some("it would wait".to_owned())))
}

pub(super) fn advice(advice: three::Advice) -> two::Advice {
    same!(advice, three::Advice => two::Advice: Normal Sequential Random WillNeed DontNeed NoReuse)
}

pub(super) fn path_flags(flags: three::PathFlags) -> two::PathFlags {
    flags!(flags, three::PathFlags => two::PathFlags: SYMLINK_FOLLOW)
}

pub(super) fn open_flags(flags: three::OpenFlags) -> two::OpenFlags {
    flags!(flags, three::OpenFlags => two::OpenFlags: CREATE DIRECTORY EXCLUSIVE TRUNCATE)
}

pub(super) fn descriptor_flags(flags: three::DescriptorFlags) -> two::DescriptorFlags {
    flags!(flags, three::DescriptorFlags => two::DescriptorFlags:
        READ WRITE FILE_INTEGRITY_SYNC DATA_INTEGRITY_SYNC REQUESTED_WRITE_SYNC MUTATE_DIRECTORY)
}

pub(super) fn descriptor_flags_told(flags: two::DescriptorFlags) -> three::DescriptorFlags {
    flags!(flags, two::DescriptorFlags => three::DescriptorFlags:
        READ WRITE FILE_INTEGRITY_SYNC DATA_INTEGRITY_SYNC REQUESTED_WRITE_SYNC MUTATE_DIRECTORY)
}

pub(super) fn descriptor_type(kind: two::DescriptorType) -> three::DescriptorType {
    same!(kind, two::DescriptorType => three::DescriptorType:
        BlockDevice CharacterDevice Directory Fifo SymbolicLink RegularFile Socket,
        Unknown => three::DescriptorType::Other(None))
}

pub(super) fn stat(stat: two::DescriptorStat) -> three::DescriptorStat {
    // One that is too late for 0.3 is missing, as one before 1970 is with 0.2.
    let instant = |time: Datetime| {
        let seconds = i64::try_from(time.seconds).ok()?;
        Some(Instant { seconds, nanoseconds: time.nanoseconds })
    };
    three::DescriptorStat {
        type_: descriptor_type(stat.type_),
        link_count: stat.link_count,
        size: stat.size,
        data_access_timestamp: stat.data_access_timestamp.and_then(instant),
        data_modification_timestamp: stat.data_modification_timestamp.and_then(instant),
        status_change_timestamp: stat.status_change_timestamp.and_then(instant),
    }
}

/// An error for a time before 1970, for which 0.2 has no words.
pub(super) fn time(time: three::NewTimestamp) -> Result<two::NewTimestamp, three::ErrorCode> {
    Ok(match time {
        three::NewTimestamp::NoChange => two::NewTimestamp::NoChange,
        three::NewTimestamp::Now => two::NewTimestamp::Now,
        three::NewTimestamp::Timestamp(Instant { seconds, nanoseconds }) => {
            let seconds = u64::try_from(seconds).map_err(|_| three::ErrorCode::Overflow)?;
            two::NewTimestamp::Timestamp(Datetime { seconds, nanoseconds })
        }
    })
}

pub(super) fn hash(hash: two::MetadataHashValue) -> three::MetadataHashValue {
    three::MetadataHashValue { lower: hash.lower, upper: hash.upper }
}
