//! `wasi:filesystem`.

use wasip2::clocks::wall_clock::Datetime;
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DescriptorType, ErrorCode, NewTimestamp, OpenFlags, PathFlags,
};
use wasip2::io::streams::StreamError;

use crate::check::{Fact, Outcome};
use crate::{ensure, given, refused, same};

pub const FACTS: &[Fact] = &[
    ("fs-preopens-are-the-mounts", mounts),
    ("fs-file-is-written-and-read-at-offsets", offsets),
    ("fs-file-is-written-and-read-by-streams", streams),
    ("fs-stream-appends-at-the-end", appends),
    ("fs-stream-writes-zeroes-and-splices", splices),
    ("fs-flags-and-types-are-told", flags),
    ("fs-size-is-set", size),
    ("fs-stat-tells-times-that-were-set", times),
    ("fs-open-flags-are-kept", open_flags),
    ("fs-reading-only-writes-nothing", read_only),
    ("fs-directory-is-listed-without-dots", listing),
    ("fs-directories-are-made-and-removed", directories),
    ("fs-rename-moves", renames),
    ("fs-links-are-followed-when-asked", links),
    ("fs-hard-link-is-the-same-object", hard_links),
    ("fs-nothing-leads-out", escapes),
    ("fs-advice-and-sync-are-taken", advice),
    ("fs-read-only-mount-takes-nothing", fixed_mount),
    ("fs-mounts-are-disks-of-their-own", two_disks),
];

const READ_WRITE: DescriptorFlags = DescriptorFlags::READ.union(DescriptorFlags::WRITE);

fn mount(name: &str) -> Result<Descriptor, String> {
    let found = preopens::get_directories().into_iter().find(|(_, path)| path == name);
    found.map(|(directory, _)| directory).ok_or_else(|| format!("{name} is not there"))
}

fn create(dir: &Descriptor, name: &str, content: &[u8]) -> Result<Descriptor, String> {
    let opened = dir.open_at(PathFlags::empty(), name, OpenFlags::CREATE | OpenFlags::TRUNCATE, READ_WRITE);
    let file = opened.map_err(|error| format!("create {name}: {error:?}"))?;
    file.write(content, 0).map_err(|error| format!("write {name}: {error:?}"))?;
    Ok(file)
}

fn open(dir: &Descriptor, name: &str, path: PathFlags, flags: DescriptorFlags) -> Result<Descriptor, ErrorCode> {
    dir.open_at(path, name, OpenFlags::empty(), flags)
}

fn mounts() -> Outcome {
    let mut names: Vec<String> = preopens::get_directories().into_iter().map(|(_, path)| path).collect();
    names.sort();
    same!(names, ["/data", "/dev", "/fixed", "/other"]);
    Ok(())
}

fn offsets() -> Outcome {
    let data = mount("/data")?;
    let file = create(&data, "offsets", b"0123456789")?;
    same!(given!(file.write(b"xy", 4)), 2);
    same!(given!(file.read(4, 3)), (b"3xy6".to_vec(), false));
    let (end, at_end) = given!(file.read(10, 8));
    same!(end, b"89");
    let (nothing, over) = given!(file.read(10, 10));
    ensure!(nothing.is_empty() && (over || at_end));
    drop(file);
    given!(data.unlink_file_at("offsets"));
    Ok(())
}

fn streams() -> Outcome {
    let data = mount("/data")?;
    let file = create(&data, "streams", b"")?;
    let output = given!(file.write_via_stream(2));
    given!(output.blocking_write_and_flush(b"hello"));
    drop(output);
    let input = given!(file.read_via_stream(1));
    let mut all = Vec::new();
    loop {
        match input.blocking_read(3) {
            Ok(piece) => all.extend(piece),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(format!("{error:?}")),
        }
    }
    same!(all, b"\0hello");
    drop((input, file));
    given!(data.unlink_file_at("streams"));
    Ok(())
}

fn appends() -> Outcome {
    let data = mount("/data")?;
    let file = create(&data, "appends", b"one")?;
    let output = given!(file.append_via_stream());
    given!(output.blocking_write_and_flush(b" two"));
    given!(file.write(b" three", 7));
    given!(output.blocking_write_and_flush(b" four"));
    drop(output);
    same!(given!(file.read(100, 0)).0, b"one two three four");
    drop(file);
    given!(data.unlink_file_at("appends"));
    Ok(())
}

fn splices() -> Outcome {
    let data = mount("/data")?;
    let from = create(&data, "from", b"abcdef")?;
    let to = create(&data, "to", b"")?;
    let output = given!(to.write_via_stream(0));
    given!(output.blocking_write_zeroes_and_flush(2));
    let input = given!(from.read_via_stream(0));
    same!(given!(input.blocking_skip(1)), 1);
    same!(given!(output.blocking_splice(&input, 3)), 3);
    given!(output.blocking_flush());
    drop((output, input));
    same!(given!(to.read(100, 0)).0, b"\0\0bcd");
    drop((from, to));
    given!(data.unlink_file_at("from"));
    given!(data.unlink_file_at("to"));
    Ok(())
}

fn flags() -> Outcome {
    let data = mount("/data")?;
    same!(given!(data.get_type()), DescriptorType::Directory);
    let file = create(&data, "flags", b"")?;
    same!(given!(file.get_type()), DescriptorType::RegularFile);
    ensure!(given!(file.get_flags()).contains(READ_WRITE));
    drop(file);
    let file = given!(open(&data, "flags", PathFlags::empty(), DescriptorFlags::READ));
    ensure!(!given!(file.get_flags()).contains(DescriptorFlags::WRITE));
    drop(file);
    given!(data.unlink_file_at("flags"));
    Ok(())
}

fn size() -> Outcome {
    let data = mount("/data")?;
    let file = create(&data, "size", b"0123456789")?;
    given!(file.set_size(3));
    same!(given!(file.stat()).size, 3);
    given!(file.set_size(5));
    same!(given!(file.read(10, 0)).0, b"012\0\0");
    refused!(data.set_size(0), ErrorCode::BadDescriptor, ErrorCode::IsDirectory, ErrorCode::Invalid);
    drop(file);
    given!(data.unlink_file_at("size"));
    Ok(())
}

fn times() -> Outcome {
    const WHEN: Datetime = Datetime { seconds: 1_600_000_000, nanoseconds: 0 };
    let data = mount("/data")?;
    let file = create(&data, "times", b"x")?;
    let seconds = |time: Option<Datetime>| time.map(|time| time.seconds);
    given!(file.set_times(NewTimestamp::NoChange, NewTimestamp::Timestamp(WHEN)));
    same!(seconds(given!(file.stat()).data_modification_timestamp), Some(WHEN.seconds));
    given!(data.set_times_at(PathFlags::empty(), "times", NewTimestamp::Timestamp(WHEN), NewTimestamp::Now));
    let stat = given!(data.stat_at(PathFlags::empty(), "times"));
    same!(seconds(stat.data_access_timestamp), Some(WHEN.seconds));
    ensure!(seconds(stat.data_modification_timestamp) > Some(WHEN.seconds));
    same!((stat.type_, stat.size, stat.link_count), (DescriptorType::RegularFile, 1, 1));
    drop(file);
    given!(data.unlink_file_at("times"));
    Ok(())
}

fn open_flags() -> Outcome {
    let data = mount("/data")?;
    let none = PathFlags::empty();
    refused!(open(&data, "missing", none, DescriptorFlags::READ), ErrorCode::NoEntry);
    drop(create(&data, "there", b"content")?);
    let exclusive = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    refused!(data.open_at(none, "there", exclusive, READ_WRITE), ErrorCode::Exist);
    refused!(data.open_at(none, "there", OpenFlags::DIRECTORY, DescriptorFlags::READ), ErrorCode::NotDirectory);
    let emptied = given!(data.open_at(none, "there", OpenFlags::TRUNCATE, READ_WRITE));
    same!(given!(emptied.stat()).size, 0);
    let both = OpenFlags::DIRECTORY | OpenFlags::EXCLUSIVE | OpenFlags::CREATE;
    refused!(data.open_at(none, "new", both, READ_WRITE), ErrorCode::Invalid, ErrorCode::Unsupported);
    drop(emptied);
    given!(data.unlink_file_at("there"));
    Ok(())
}

fn read_only() -> Outcome {
    let data = mount("/data")?;
    drop(create(&data, "read", b"content")?);
    let file = given!(open(&data, "read", PathFlags::empty(), DescriptorFlags::READ));
    ensure!(file.write(b"x", 0).is_err());
    // A stream may be had, and then refuses what is written to it.
    for stream in [file.write_via_stream(0), file.append_via_stream()] {
        ensure!(stream.is_err() || stream.is_ok_and(|it| it.blocking_write_and_flush(b"x").is_err()));
    }
    ensure!(file.set_size(0).is_err());
    same!(given!(file.read(20, 0)).0, b"content");
    drop(file);
    let file = given!(open(&data, "read", PathFlags::empty(), DescriptorFlags::WRITE));
    ensure!(file.read(1, 0).is_err());
    let stream = file.read_via_stream(0);
    ensure!(
        stream.is_err()
            || stream.is_ok_and(|it| matches!(it.blocking_read(1), Err(StreamError::LastOperationFailed(_))))
    );
    drop(file);
    given!(data.unlink_file_at("read"));
    Ok(())
}

fn listing() -> Outcome {
    let data = mount("/data")?;
    given!(data.create_directory_at("list"));
    let dir = given!(data.open_at(
        PathFlags::empty(),
        "list",
        OpenFlags::DIRECTORY,
        DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY
    ));
    for number in 0..200 {
        drop(create(&dir, &format!("file-{number}"), b"")?);
    }
    given!(dir.create_directory_at("below"));
    given!(dir.symlink_at("file-0", "link"));
    let entries = given!(dir.read_directory());
    let mut found = Vec::new();
    while let Some(entry) = given!(entries.read_directory_entry()) {
        found.push((entry.name, entry.type_));
    }
    drop(entries);
    same!(found.len(), 202);
    ensure!(found.contains(&("below".to_owned(), DescriptorType::Directory)));
    ensure!(found.contains(&("link".to_owned(), DescriptorType::SymbolicLink)));
    for (name, kind) in found {
        given!(if kind == DescriptorType::Directory {
            dir.remove_directory_at(&name)
        } else {
            dir.unlink_file_at(&name)
        });
    }
    drop(dir);
    given!(data.remove_directory_at("list"));
    Ok(())
}

fn directories() -> Outcome {
    let data = mount("/data")?;
    given!(data.create_directory_at("dir"));
    refused!(data.create_directory_at("dir"), ErrorCode::Exist);
    refused!(data.create_directory_at("missing/dir"), ErrorCode::NoEntry);
    drop(create(&data, "dir/file", b"")?);
    refused!(data.remove_directory_at("dir"), ErrorCode::NotEmpty);
    refused!(data.remove_directory_at("dir/file"), ErrorCode::NotDirectory);
    refused!(data.unlink_file_at("dir"), ErrorCode::IsDirectory, ErrorCode::NotPermitted);
    given!(data.unlink_file_at("dir/file"));
    given!(data.remove_directory_at("dir"));
    refused!(
        data.remove_directory_at("."),
        ErrorCode::Invalid,
        ErrorCode::Busy,
        ErrorCode::NotPermitted,
        ErrorCode::NotEmpty
    );
    Ok(())
}

fn renames() -> Outcome {
    let data = mount("/data")?;
    drop(create(&data, "old", b"content")?);
    given!(data.rename_at("old", &data, "new"));
    refused!(data.stat_at(PathFlags::empty(), "old"), ErrorCode::NoEntry);
    given!(data.create_directory_at("dir"));
    refused!(data.rename_at("new", &data, "dir"), ErrorCode::IsDirectory);
    refused!(data.rename_at("dir", &data, "new"), ErrorCode::NotDirectory);
    given!(data.rename_at("new", &data, "dir/new"));
    same!(given!(data.stat_at(PathFlags::empty(), "dir/new")).size, 7);
    given!(data.unlink_file_at("dir/new"));
    given!(data.remove_directory_at("dir"));
    Ok(())
}

fn links() -> Outcome {
    let data = mount("/data")?;
    drop(create(&data, "target", b"content")?);
    given!(data.symlink_at("target", "link"));
    same!(given!(data.readlink_at("link")), "target");
    same!(given!(data.stat_at(PathFlags::empty(), "link")).type_, DescriptorType::SymbolicLink);
    same!(given!(data.stat_at(PathFlags::SYMLINK_FOLLOW, "link")).size, 7);
    refused!(open(&data, "link", PathFlags::empty(), DescriptorFlags::READ), ErrorCode::Loop);
    let file = given!(open(&data, "link", PathFlags::SYMLINK_FOLLOW, DescriptorFlags::READ));
    same!(given!(file.read(20, 0)).0, b"content");
    drop(file);
    refused!(data.readlink_at("target"), ErrorCode::Invalid);
    given!(data.symlink_at("circle", "circle"));
    refused!(open(&data, "circle", PathFlags::SYMLINK_FOLLOW, DescriptorFlags::READ), ErrorCode::Loop);
    for name in ["circle", "link", "target"] {
        given!(data.unlink_file_at(name));
    }
    Ok(())
}

fn hard_links() -> Outcome {
    let data = mount("/data")?;
    let one = create(&data, "one", b"content")?;
    given!(data.link_at(PathFlags::empty(), "one", &data, "two"));
    let two = given!(open(&data, "two", PathFlags::empty(), DescriptorFlags::READ));
    ensure!(one.is_same_object(&two));
    ensure!(!one.is_same_object(&data));
    let hash = |file: &Descriptor| file.metadata_hash().map(|it| (it.lower, it.upper));
    same!(hash(&one), hash(&two));
    let before = given!(hash(&one));
    let at = given!(data.metadata_hash_at(PathFlags::empty(), "two"));
    same!((at.lower, at.upper), before);
    refused!(data.link_at(PathFlags::empty(), "one", &data, "two"), ErrorCode::Exist);
    drop((one, two));
    given!(data.unlink_file_at("one"));
    given!(data.unlink_file_at("two"));
    Ok(())
}

fn escapes() -> Outcome {
    let data = mount("/data")?;
    for path in ["..", "../other", "/", "/etc/passwd", "/data", "./../..", "x/../../.."] {
        refused!(
            open(&data, path, PathFlags::SYMLINK_FOLLOW, DescriptorFlags::READ),
            ErrorCode::NotPermitted,
            ErrorCode::NoEntry
        );
        ensure!(data.stat_at(PathFlags::empty(), path).is_err());
        ensure!(data.create_directory_at(&format!("{path}/made")).is_err());
    }
    for (number, target) in ["..", "../../../../../etc", "/etc", "/"].iter().enumerate() {
        let name = format!("out-{number}");
        if data.symlink_at(target, &name).is_err() {
            continue;
        }
        ensure!(open(&data, &name, PathFlags::SYMLINK_FOLLOW, DescriptorFlags::READ).is_err());
        ensure!(open(&data, &format!("{name}/hostname"), PathFlags::SYMLINK_FOLLOW, DescriptorFlags::READ).is_err());
        ensure!(data.stat_at(PathFlags::SYMLINK_FOLLOW, &name).is_err());
        given!(data.unlink_file_at(&name));
    }
    Ok(())
}

fn advice() -> Outcome {
    let data = mount("/data")?;
    let file = create(&data, "advice", b"content")?;
    for advice in
        [Advice::Normal, Advice::Sequential, Advice::Random, Advice::WillNeed, Advice::DontNeed, Advice::NoReuse]
    {
        given!(file.advise(0, 7, advice));
    }
    given!(file.sync_data());
    given!(file.sync());
    drop(file);
    given!(data.unlink_file_at("advice"));
    Ok(())
}

fn fixed_mount() -> Outcome {
    let fixed = mount("/fixed")?;
    let file = given!(open(&fixed, "greeting", PathFlags::SYMLINK_FOLLOW, DescriptorFlags::READ));
    same!(given!(file.read(20, 0)).0, b"hello");
    let refusals = [ErrorCode::NotPermitted, ErrorCode::ReadOnly, ErrorCode::Access, ErrorCode::BadDescriptor];
    let attempts = [
        open(&fixed, "greeting", PathFlags::SYMLINK_FOLLOW, READ_WRITE).and_then(|it| it.write(b"x", 0)).map(drop),
        fixed.open_at(PathFlags::empty(), "new", OpenFlags::CREATE, READ_WRITE).map(drop),
        fixed.create_directory_at("new"),
        fixed.unlink_file_at("greeting"),
        fixed.rename_at("greeting", &fixed, "farewell"),
        fixed.symlink_at("greeting", "link"),
        fixed.set_times_at(PathFlags::empty(), "greeting", NewTimestamp::Now, NewTimestamp::Now),
    ];
    for (number, attempt) in attempts.into_iter().enumerate() {
        if !attempt.is_err_and(|error| refusals.contains(&error)) {
            return Err(format!("attempt {number} came to {attempt:?}"));
        }
    }
    Ok(())
}

fn two_disks() -> Outcome {
    let (data, other) = (mount("/data")?, mount("/other")?);
    drop(create(&data, "file", b"x")?);
    refused!(data.rename_at("file", &other, "file"), ErrorCode::CrossDevice);
    refused!(data.link_at(PathFlags::empty(), "file", &other, "file"), ErrorCode::CrossDevice);
    ensure!(!data.is_same_object(&other));
    given!(data.unlink_file_at("file"));
    Ok(())
}
