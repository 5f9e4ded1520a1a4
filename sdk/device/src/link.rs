//! Lines to a socket: TCP, and serial devices.

use crate::driver::Link;
use core::fmt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::path::Path;

/// A line over TCP, as terminal servers and simulators offer it.
#[derive(Debug)]
pub struct TcpLink(TcpStream);

impl TcpLink {
    /// Connects.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub fn connect(address: impl ToSocketAddrs) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }
}

impl Link for TcpLink {
    type Error = io::Error;

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn receive(&mut self, into: &mut [u8], timeout_ms: u32) -> io::Result<usize> {
        receive(&mut self.0, into, timeout_ms)
    }
}

/// A serial device, set to raw mode: what is sent is what arrives.
pub struct SerialLink(File);

impl SerialLink {
    /// Opens the device. Its speed is left as it is.
    ///
    /// # Errors
    /// If there is no such device, or it is no terminal.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let device = open(
            path.as_ref(),
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut attributes = tcgetattr(&device)?;
        attributes.make_raw();
        tcsetattr(&device, OptionalActions::Now, &attributes)?;
        Ok(Self(File::from(device)))
    }
}

impl fmt::Debug for SerialLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SerialLink")
    }
}

impl Link for SerialLink {
    type Error = io::Error;

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn receive(&mut self, into: &mut [u8], timeout_ms: u32) -> io::Result<usize> {
        receive(&mut self.0, into, timeout_ms)
    }
}

fn receive(line: &mut (impl Read + AsFd), into: &mut [u8], timeout_ms: u32) -> io::Result<usize> {
    let timeout = Timespec {
        tv_sec: i64::from(timeout_ms / 1_000),
        tv_nsec: i64::from(timeout_ms % 1_000) * 1_000_000,
    };
    match poll(&mut [PollFd::new(line, PollFlags::IN)], Some(&timeout)) {
        Ok(0) | Err(Errno::INTR) => return Ok(0),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    match line.read(into)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        len => Ok(len),
    }
}
