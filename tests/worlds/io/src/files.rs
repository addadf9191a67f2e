//! Files.

use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip3::wit_stream;

fn said(error: ErrorCode) -> String {
    format!("{error:?}")
}

/// The directory that a path is below, and the rest of the path.
fn place(path: &str) -> Result<(Descriptor, String), String> {
    let below = |(directory, at): (Descriptor, String)| {
        let rest = path.strip_prefix(at.trim_end_matches('/'))?;
        let rest = rest.trim_start_matches('/');
        Some((directory, if rest.is_empty() { ".".to_owned() } else { rest.to_owned() }))
    };
    get_directories().into_iter().find_map(below).ok_or_else(|| "no such directory".to_owned())
}

async fn open(path: &str, how: OpenFlags, flags: DescriptorFlags) -> Result<Descriptor, String> {
    let (directory, rest) = place(path)?;
    directory.open_at(PathFlags::SYMLINK_FOLLOW, rest, how, flags).await.map_err(said)
}

pub async fn write(path: &str, bytes: Vec<u8>, at: Option<u64>) -> Result<String, String> {
    let file = open(path, OpenFlags::CREATE, DescriptorFlags::WRITE).await?;
    let (mut writer, reader) = wit_stream::new();
    let written = match at {
        Some(at) => file.write_via_stream(reader, at),
        None => file.append_via_stream(reader),
    };
    wasip3::wit_bindgen::spawn_local(async move {
        writer.write_all(bytes).await;
    });
    written.await.map_err(said)?;
    Ok(format!("{} bytes", file.stat().await.map_err(said)?.size))
}

pub async fn read(path: &str) -> Result<String, String> {
    let file = open(path, OpenFlags::empty(), DescriptorFlags::READ).await?;
    let (mut stream, ended) = file.read_via_stream(0);
    let mut all = Vec::new();
    while let Some(byte) = stream.next().await {
        all.push(byte);
    }
    ended.await.map_err(said)?;
    Ok(String::from_utf8_lossy(&all).into_owned())
}

pub async fn list(path: &str) -> Result<String, String> {
    let directory = open(path, OpenFlags::DIRECTORY, DescriptorFlags::READ).await?;
    let (mut stream, ended) = directory.read_directory();
    let mut names = Vec::new();
    while let Some(entry) = stream.next().await {
        names.push(format!("{}:{:?}", entry.name, entry.type_));
    }
    ended.await.map_err(said)?;
    names.sort();
    Ok(names.join(" "))
}

/// Asks for the entries of a directory so many times, takes one of each, and keeps the rest waiting.
pub async fn hoard(path: &str, count: usize) -> Result<String, String> {
    let directory = open(path, OpenFlags::DIRECTORY, DescriptorFlags::READ).await?;
    let mut kept = Vec::new();
    for _ in 0..count {
        let (mut stream, ended) = directory.read_directory();
        if stream.next().await.is_none() {
            return Err(format!("{:?}", ended.await));
        }
        kept.push((stream, ended));
    }
    Ok(format!("{} directories", kept.len()))
}

pub async fn make(path: &str) -> Result<String, String> {
    let (directory, rest) = place(path)?;
    directory.create_directory_at(rest).await.map_err(said)?;
    Ok("made".to_owned())
}

pub async fn size(path: &str, bytes: u64) -> Result<String, String> {
    let file = open(path, OpenFlags::CREATE, DescriptorFlags::WRITE).await?;
    file.set_size(bytes).await.map_err(said)?;
    Ok("set".to_owned())
}

pub async fn rename(from: &str, to: &str) -> Result<String, String> {
    let ((from, old), (to, new)) = (place(from)?, place(to)?);
    from.rename_at(old, &to, new).await.map_err(said)?;
    Ok("moved".to_owned())
}

pub async fn remove(path: &str) -> Result<String, String> {
    let (directory, rest) = place(path)?;
    directory.unlink_file_at(rest).await.map_err(said)?;
    Ok("removed".to_owned())
}
