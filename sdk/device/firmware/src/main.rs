//! The chip's end between a receive register, a transmit register and a flash that is plain memory here. What a real
//! chip adds is its drivers.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::ptr::{read_volatile, write_volatile};
use identity::sources::EntropyError;
use identity::{ChipUid, Entropy, PartNumber};
use koseki_device::{Device, Memory, MemoryError};

const RECEIVE: *const u8 = 0x4000_0000 as *const u8;
const TRANSMIT: *mut u8 = 0x4000_0004 as *mut u8;
const RANDOM: *const u8 = 0x4000_0008 as *const u8;
const CAPACITY: u16 = 2048;

/// Where the linker begins.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    let Ok(mut device) = Device::power_on(Flash::erased(), Register) else {
        loop {}
    };
    loop {
        // SAFETY: a memory-mapped register of the imagined chip, read one byte at a time.
        let byte = unsafe { read_volatile(RECEIVE) };
        device.receive(&[byte], |answer| answer.iter().for_each(|byte| send(*byte)));
    }
}

fn send(byte: u8) {
    // SAFETY: a memory-mapped register of the imagined chip, written one byte at a time.
    unsafe { write_volatile(TRANSMIT, byte) }
}

#[panic_handler]
fn stop(_: &PanicInfo<'_>) -> ! {
    loop {}
}

struct Register;

impl Entropy for Register {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        // SAFETY: a memory-mapped register of the imagined chip, read one byte at a time.
        out.iter_mut().for_each(|byte| *byte = unsafe { read_volatile(RANDOM) });
        Ok(())
    }
}

struct Flash {
    slot: [u8; 32],
    lock: [u8; 4],
    certificate: [u8; CAPACITY as usize],
    certificate_len: u16,
}

impl Flash {
    const fn erased() -> Self {
        Self {
            slot: [0xFF; 32],
            lock: [0xFF; 4],
            certificate: [0xFF; CAPACITY as usize],
            certificate_len: 0,
        }
    }
}

impl Memory for Flash {
    fn uid(&self) -> ChipUid {
        ChipUid::new(&[1; 9]).unwrap_or_else(|_| loop {})
    }
    fn part(&self) -> PartNumber {
        PartNumber::new("size").unwrap_or_else(|_| loop {})
    }
    fn endorsement(&self) -> [u8; 64] {
        [0; 64]
    }
    fn read_attestation_key(&self, out: &mut [u8; 32]) -> Result<(), MemoryError> {
        *out = [1; 32];
        Ok(())
    }
    fn read_slot(&self, out: &mut [u8; 32]) -> Result<(), MemoryError> {
        *out = self.slot;
        Ok(())
    }
    fn write_slot(&mut self, secret: &[u8; 32]) -> Result<(), MemoryError> {
        self.slot = *secret;
        Ok(())
    }
    fn read_lock(&self) -> Result<[u8; 4], MemoryError> {
        Ok(self.lock)
    }
    fn write_lock(&mut self, word: &[u8; 4]) -> Result<(), MemoryError> {
        self.lock = *word;
        Ok(())
    }
    fn certificate_capacity(&self) -> u16 {
        CAPACITY
    }
    fn certificate_len(&self) -> Result<u16, MemoryError> {
        Ok(self.certificate_len)
    }
    fn set_certificate_len(&mut self, len: u16) -> Result<(), MemoryError> {
        self.certificate_len = len;
        Ok(())
    }
    fn read_certificate(&self, offset: u16, out: &mut [u8]) -> Result<(), MemoryError> {
        let from = usize::from(offset);
        let piece = self.certificate.get(from..from + out.len()).ok_or(MemoryError)?;
        out.copy_from_slice(piece);
        Ok(())
    }
    fn write_certificate(&mut self, offset: u16, bytes: &[u8]) -> Result<(), MemoryError> {
        let from = usize::from(offset);
        let place = self.certificate.get_mut(from..from + bytes.len()).ok_or(MemoryError)?;
        place.copy_from_slice(bytes);
        Ok(())
    }
}
