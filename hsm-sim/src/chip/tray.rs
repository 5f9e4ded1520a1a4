//! The handler's tray: which chip comes into which socket, and where each socket stands.

use crate::chip::error::ChipError;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// File in the chips' directory that gives the order; without it, chips come in the order of their file names.
const ORDER_FILE: &str = "order.txt";
/// In the order: this socket's next seat is empty.
const EMPTY: &str = "-";

/// One socket's part of the tray. The n-th line of the order goes to socket n modulo the number of sockets. The
/// position is kept in a file, so that a restarted handler finds the same chip in the socket.
#[derive(Debug)]
pub struct Tray {
    dir: PathBuf,
    queue: Vec<String>,
    position_file: PathBuf,
    position: u32,
}

impl Tray {
    /// The trays of `sockets` sockets, from one directory.
    ///
    /// # Errors
    /// [`ChipError`]
    pub fn open_all(dir: &Path, sockets: usize) -> Result<Vec<Self>, ChipError> {
        let order = read_order(dir)?;
        (0..sockets)
            .map(|socket| Self::open(dir, order.iter().skip(socket).step_by(sockets), socket))
            .collect()
    }

    fn open<'a>(
        dir: &Path,
        queue: impl Iterator<Item = &'a String>,
        socket: usize,
    ) -> Result<Self, ChipError> {
        let position_file = dir.join(format!("socket-{socket}.position"));
        let position = read_position(&position_file)?;
        Ok(Self {
            dir: dir.to_owned(),
            queue: queue.cloned().collect(),
            position_file,
            position,
        })
    }

    /// How many chips have left the socket.
    #[must_use]
    pub const fn position(&self) -> u32 {
        self.position
    }

    /// Name and path of the chip that belongs into the socket now; none when the tray is empty.
    #[must_use]
    pub fn chip(&self) -> Option<(&str, PathBuf)> {
        let name = self.queue.get(usize::try_from(self.position).ok()?)?;
        (name != EMPTY).then(|| (name.as_str(), self.dir.join(name)))
    }

    /// Moves on by one; durable when the call returns. At the end of the tray nothing moves.
    ///
    /// # Errors
    /// [`ChipError`]; nothing has moved then.
    pub fn advance(&mut self) -> Result<(), ChipError> {
        let next = self.position.saturating_add(1);
        if usize::try_from(self.position).is_ok_and(|position| position < self.queue.len()) {
            write_durably(&self.position_file, &format!("{next}\n"))
                .map_err(ChipError::io(&self.position_file))?;
            self.position = next;
        }
        Ok(())
    }
}

fn read_order(dir: &Path) -> Result<Vec<String>, ChipError> {
    let path = dir.join(ORDER_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let lines = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            Ok(lines.map(str::to_owned).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            list_chips(dir).map_err(ChipError::io(dir))
        }
        Err(error) => Err(ChipError::io(&path)(error)),
    }
}

fn list_chips(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.extend(
            entry?
                .file_name()
                .into_string()
                .ok()
                .filter(|name| name.ends_with(".chip")),
        );
    }
    names.sort();
    Ok(names)
}

fn read_position(path: &Path) -> Result<u32, ChipError> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|error| ChipError::Content {
            path: path.to_owned(),
            reason: format!("not a position: {error}"),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(ChipError::io(path)(error)),
    }
}

fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
