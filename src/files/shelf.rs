//! Files on disk: one file each, its description before its content, whole or not there at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use isthmus_bridge::{BlobId, Media};

use crate::storage::fresh_id;

/// First bytes of a kept file.
const MAGIC: &[u8; 8] = b"isthmus1";
/// A description is never longer than this.
const LONGEST_MEDIA: usize = 64 << 10;
/// A file that was never finished is thrown away after this time.
const UNFINISHED: Duration = Duration::from_secs(3600);

/// Keeps files below one folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shelf {
    folder: Arc<Path>,
}

impl Shelf {
    /// Opens the folder, making it if need be (readable by ourselves only).
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder: PathBuf = folder.into();
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder)?;
        Ok(Self { folder: folder.into() })
    }

    /// Keeps a file. When this returns, a power failure does not lose it.
    ///
    /// # Errors
    /// The disk is full or broken; nothing is kept then.
    pub async fn keep(&self, body: Bytes, mut media: Media) -> io::Result<BlobId> {
        media.size = Some(body.len() as u64);
        self.blocking(move |shelf| {
            let id = fresh_id();
            let unfinished = shelf.folder.join(format!("{id}.part"));
            let written = shelf.write(&unfinished, &media, &body).and_then(|()| {
                fs::rename(&unfinished, shelf.path(&id))?;
                // The name is durable only when the folder is.
                File::open(&shelf.folder)?.sync_all()
            });
            if let Err(error) = written {
                // Whatever is there of it; that it fails changes nothing about the error.
                let _ = fs::remove_file(&unfinished);
                return Err(error);
            }
            Ok(BlobId::from(id))
        })
        .await
    }

    /// A file and its description; none when there is no such file (any more).
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub async fn read(&self, id: &BlobId) -> io::Result<Option<(Bytes, Media)>> {
        let Some(path) = self.known(id) else { return Ok(None) };
        self.blocking(move |_| {
            let Some(mut file) = open(&path)? else { return Ok(None) };
            let media = description(&mut file)?;
            // As long as the file is, whatever its description says.
            let mut body = Vec::new();
            file.read_to_end(&mut body)?;
            if Some(body.len() as u64) != media.size {
                return Err(damaged());
            }
            Ok(Some((Bytes::from(body), media)))
        })
        .await
    }

    /// The description alone.
    ///
    /// # Errors
    /// As [`Shelf::read`].
    pub async fn media(&self, id: &BlobId) -> io::Result<Option<Media>> {
        let Some(path) = self.known(id) else { return Ok(None) };
        self.blocking(move |_| match open(&path)? {
            Some(mut file) => description(&mut file).map(Some),
            None => Ok(None),
        })
        .await
    }

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// It cannot be removed.
    pub async fn remove(&self, id: &BlobId) -> io::Result<()> {
        let Some(path) = self.known(id) else { return Ok(()) };
        self.blocking(move |_| match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    /// Removes what was kept before `now - keep_for`, and what was never finished. Returns how many files went.
    ///
    /// # Errors
    /// The folder cannot be read. A file that cannot be removed stays for the next time.
    pub async fn sweep(&self, now: SystemTime, keep_for: Duration) -> io::Result<usize> {
        self.blocking(move |shelf| {
            let mut removed = 0;
            for entry in fs::read_dir(&shelf.folder)? {
                let entry = entry?;
                let unfinished = entry.path().extension().is_some_and(|extension| extension == "part");
                let Ok(changed) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
                let age = now.duration_since(changed).unwrap_or_default();
                if age > if unfinished { UNFINISHED } else { keep_for } && fs::remove_file(entry.path()).is_ok() {
                    removed += 1;
                }
            }
            Ok(removed)
        })
        .await
    }

    fn write(&self, path: &Path, media: &Media, body: &[u8]) -> io::Result<()> {
        let description = serde_json::to_vec(media)?;
        let length = u32::try_from(description.len()).ok().filter(|length| *length as usize <= LONGEST_MEDIA);
        let length =
            length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the description is too long"))?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.write_all(MAGIC)?;
        file.write_all(&length.to_be_bytes())?;
        file.write_all(&description)?;
        file.write_all(body)?;
        file.sync_all()
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.blob"))
    }

    /// The path of an id that we could have given; others never reach the file system.
    fn known(&self, id: &BlobId) -> Option<PathBuf> {
        let id = id.as_str();
        let ours = id.len() == 26 && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
        ours.then(|| self.path(id))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let shelf = self.clone();
        tokio::task::spawn_blocking(move || f(&shelf)).await.map_err(io::Error::other)?
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn description(file: &mut File) -> io::Result<Media> {
    let (mut magic, mut length) = ([0; 8], [0; 4]);
    file.read_exact(&mut magic)?;
    file.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if &magic != MAGIC || length > LONGEST_MEDIA {
        return Err(damaged());
    }
    let mut description = vec![0; length];
    file.read_exact(&mut description)?;
    serde_json::from_slice(&description).map_err(|_| damaged())
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a kept file is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shelf = Shelf::open(folder.path().join("blobs")).expect("a shelf");
        (folder, shelf)
    }

    #[tokio::test]
    async fn what_is_kept_is_read_back_also_by_another_process() {
        let (folder, shelf) = shelf();
        let media = Media::new(Some("a b.txt".into()), "text/plain", None);
        let id = shelf.keep(Bytes::from_static(b"content"), media.clone()).await.expect("kept");
        let again = Shelf::open(folder.path().join("blobs")).expect("opened again");
        let (body, read) = again.read(&id).await.expect("read").expect("there");
        assert_eq!(&body[..], b"content");
        assert_eq!((read.name, read.media_type, read.size), (media.name, media.media_type, Some(7)));
        again.remove(&id).await.expect("removed");
        assert_eq!(shelf.read(&id).await.expect("no error"), None);
        shelf.remove(&id).await.expect("removing twice is no error");
    }

    #[tokio::test]
    async fn an_id_that_we_never_gave_does_not_reach_the_file_system() {
        let (folder, shelf) = shelf();
        fs::write(folder.path().join("secret.blob"), b"isthmus1").expect("written");
        for id in ["", "../secret", "/etc/passwd", "aaaaaaaaaaaaaaaaaaaaaaaaa\0", "AAAAAAAAAAAAAAAAAAAAAAAAAA", "a"] {
            assert_eq!(shelf.read(&BlobId::from(id)).await.expect("no error"), None, "{id:?}");
        }
    }

    #[tokio::test]
    async fn a_damaged_file_is_an_error_and_no_panic() {
        let (_folder, shelf) = shelf();
        let id = shelf.keep(Bytes::from_static(b"content"), Media::new(None, "a/b", None)).await.expect("kept");
        let path = shelf.path(id.as_str());
        let whole = fs::read(&path).expect("read");
        for bytes in [&whole[..5], &whole[..11], &whole[..20], &whole[..whole.len() - 1], b"isthmus1\xff\xff\xff\xffx"]
        {
            fs::write(&path, bytes).expect("written");
            assert!(shelf.read(&id).await.is_err(), "{} bytes of {}", bytes.len(), whole.len());
        }
        // A size that no memory has.
        let description = br#"{"name":null,"media_type":"a/b","size":18446744073709551615}"#;
        let length = u32::try_from(description.len()).expect("short").to_be_bytes();
        fs::write(&path, [MAGIC, &length[..], description, b"content"].concat()).expect("written");
        assert_eq!(shelf.media(&id).await.expect("described").and_then(|media| media.size), Some(u64::MAX));
        assert!(shelf.read(&id).await.is_err(), "a size that is not its own");
    }

    #[tokio::test]
    async fn old_files_and_unfinished_ones_are_swept() {
        let (_folder, shelf) = shelf();
        let id = shelf.keep(Bytes::from_static(b"content"), Media::new(None, "a/b", None)).await.expect("kept");
        fs::write(shelf.folder.join("x.part"), b"half").expect("written");
        let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
        assert_eq!(shelf.sweep(now, day).await.expect("swept"), 0);
        assert_eq!(shelf.sweep(now + day / 2, day).await.expect("swept"), 1, "the unfinished one");
        assert!(shelf.read(&id).await.expect("read").is_some());
        assert_eq!(shelf.sweep(now + day * 2, day).await.expect("swept"), 1);
        assert!(shelf.read(&id).await.expect("read").is_none());
    }
}
