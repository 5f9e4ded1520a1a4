//! The lines of the sockets: one TCP port or one pseudoterminal each.

use crate::chip::error::ChipError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// How long a line is silent before it counts as silent, in nanoseconds.
const SILENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// The simulator's end of one line.
#[derive(Debug)]
pub struct Line(Kind);

#[derive(Debug)]
enum Kind {
    Tcp {
        listener: TcpListener,
        station: Option<TcpStream>,
    },
    Pty {
        master: File,
        /// Held open, so that the line outlives a station that hangs up.
        _slave: OwnedFd,
        link: PathBuf,
    },
}

impl Line {
    /// Listens on an address; port 0 takes a free one. The newest connection holds the line.
    ///
    /// # Errors
    /// [`ChipError::Io`]
    pub fn tcp(address: SocketAddr) -> Result<Self, ChipError> {
        let bind = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Self(Kind::Tcp {
                listener,
                station: None,
            }))
        };
        bind().map_err(ChipError::io(Path::new(&address.to_string())))
    }

    /// Opens a pseudoterminal in raw mode and puts a link to it at `path`, which must not exist but as such a link.
    ///
    /// # Errors
    /// [`ChipError::Io`]
    pub fn pty(path: &Path) -> Result<Self, ChipError> {
        open_pty(path).map(Self).map_err(ChipError::io(path))
    }

    /// Where a station finds the line: an address, or the path of a serial device.
    ///
    /// # Errors
    /// [`ChipError::Io`]
    pub fn name(&self) -> Result<String, ChipError> {
        match &self.0 {
            Kind::Tcp { listener, .. } => listener
                .local_addr()
                .map(|address| address.to_string())
                .map_err(ChipError::io(Path::new("listener"))),
            Kind::Pty { link, .. } => Ok(link.display().to_string()),
        }
    }

    /// Waits for bytes; 0 after a silence.
    pub(crate) fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Pty { master, .. } => {
                if wait(&mut [PollFd::new(master, PollFlags::IN)])? {
                    master.read(into)
                } else {
                    Ok(0)
                }
            }
            Kind::Tcp { listener, station } => {
                let waited = match station {
                    Some(stream) => wait(&mut [
                        PollFd::new(listener, PollFlags::IN),
                        PollFd::new(stream, PollFlags::IN),
                    ])?,
                    None => wait(&mut [PollFd::new(listener, PollFlags::IN)])?,
                };
                if !waited {
                    return Ok(0);
                }
                accept(listener, station)?;
                Ok(read_station(station, into))
            }
        }
    }

    /// Sends a whole answer; a station that is gone does not hear it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::Pty { master, .. } => master.write_all(bytes),
            Kind::Tcp { station, .. } => {
                if station
                    .as_mut()
                    .is_some_and(|stream| stream.write_all(bytes).is_err())
                {
                    *station = None;
                }
                Ok(())
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Kind::Pty { link, .. } = &self.0 {
            // A link that stays behind dangles, and the next run replaces it.
            drop(std::fs::remove_file(link));
        }
    }
}

fn open_pty(path: &Path) -> io::Result<Kind> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = open(
        name.as_c_str(),
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut attributes = tcgetattr(&slave)?;
    attributes.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &attributes)?;
    if path.is_symlink() {
        std::fs::remove_file(path)?;
    }
    symlink(OsStr::from_bytes(name.to_bytes()), path)?;
    Ok(Kind::Pty {
        master: File::from(master),
        _slave: slave,
        link: path.to_owned(),
    })
}

fn wait(lines: &mut [PollFd<'_>]) -> io::Result<bool> {
    match poll(lines, Some(&SILENCE)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn accept(listener: &TcpListener, station: &mut Option<TcpStream>) -> io::Result<()> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nodelay(true)?;
            *station = Some(stream);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// What the station sent, if it has sent anything; a station that hung up is forgotten.
fn read_station(station: &mut Option<TcpStream>, into: &mut [u8]) -> usize {
    let Some(stream) = station else { return 0 };
    if !wait_now(stream) {
        return 0;
    }
    match stream.read(into) {
        Ok(len) if len > 0 => len,
        _ => {
            *station = None;
            0
        }
    }
}

fn wait_now(stream: &impl AsFd) -> bool {
    poll(
        &mut [PollFd::new(stream, PollFlags::IN)],
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )
    .is_ok_and(|ready| ready > 0)
}
