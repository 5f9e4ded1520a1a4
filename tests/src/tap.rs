//! Somebody on the line between station and chip, who reads every frame and may alter it.

use crate::failure::{Failure, Outcome};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Bytes before and behind a frame's payload, and where its length stands (sdk/device, frames).
const HEADER: usize = 12;
const CRC: usize = 4;
const LENGTH_AT: usize = 10;

/// What is done to frames: given their number on this line, both directions counted together. True if it was altered.
pub type Alter = Box<dyn FnMut(usize, &mut Vec<u8>) -> bool + Send>;

/// A line that is listened to.
#[derive(Debug)]
pub struct Tap {
    /// Where the station connects.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    alter: Alter,
    frames: usize,
    fired: usize,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} frames, {} altered)", self.frames, self.fired)
    }
}

impl Tap {
    /// Goes between a station and this socket.
    ///
    /// # Errors
    /// [`Failure`] of the system.
    pub fn on(socket: &str, alter: Alter) -> Outcome<Self> {
        let socket: SocketAddr = socket.parse().map_err(Failure::new)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let tap = Self {
            address: listener.local_addr()?,
            state: Arc::new(Mutex::new(State {
                alter,
                frames: 0,
                fired: 0,
            })),
        };
        let state = Arc::clone(&tap.state);
        thread::spawn(move || {
            for station in listener.incoming().flatten() {
                if let Err(error) = join(station, socket, &state) {
                    eprintln!("{socket}: {error}");
                }
            }
        });
        Ok(tap)
    }

    /// How many frames were altered.
    #[must_use]
    pub fn fired(&self) -> usize {
        self.state().fired
    }

    /// How many frames came by.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.state().frames
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn join(station: TcpStream, socket: SocketAddr, state: &Arc<Mutex<State>>) -> Outcome<()> {
    let chip = TcpStream::connect(socket)?;
    for stream in [&station, &chip] {
        stream.set_nodelay(true)?;
    }
    for (from, to) in [(station.try_clone()?, chip.try_clone()?), (chip, station)] {
        let state = Arc::clone(state);
        thread::spawn(move || pump(from, to, &state));
    }
    Ok(())
}

/// Passes whole frames on. The line is clean up to here: frames follow each other without noise.
fn pump(mut from: TcpStream, mut to: TcpStream, state: &Mutex<State>) {
    let (mut waiting, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        waiting.extend_from_slice(&buffer[..read]);
        while let Some(mut frame) = take_frame(&mut waiting) {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let number = state.frames;
            state.frames += 1;
            if (state.alter)(number, &mut frame) {
                state.fired += 1;
            }
            drop(state);
            if to.write_all(&frame).is_err() {
                return;
            }
        }
    }
    // Whoever hung up is heard at the other end; it may have gone first.
    drop(to.shutdown(Shutdown::Write));
}

fn take_frame(waiting: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = waiting.get(LENGTH_AT..HEADER)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let end = HEADER + length + CRC;
    (waiting.len() >= end).then(|| waiting.drain(..end).collect())
}

/// Puts a frame's checksum right, so that only its meaning is altered.
pub fn mend(frame: &mut [u8]) {
    let end = frame.len() - CRC;
    let crc = crc32(&frame[2..end]).to_be_bytes();
    frame[end..].copy_from_slice(&crc);
}

/// CRC-32 of IEEE 802.3, bit by bit; written anew so that an error in the product's own is seen.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}
