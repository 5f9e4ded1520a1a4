//! Raw pointers made into what safe code takes. Null is `CKR_ARGUMENTS_BAD` wherever the standard
//! wants something, and nothing has happened yet when it is found.

use core::ptr::NonNull;
use core::slice;
use cryptoki_sys::*;
use zeroize::Zeroizing;

use crate::pkcs11::operations::{Answer, Room};
use crate::pkcs11::rv::{Result, Rv};
use crate::pkcs11::template::Template;

const BAD: Rv = Rv(CKR_ARGUMENTS_BAD);

/// The bytes of an input. Null is the empty input if its length is 0.
///
/// # Safety
/// `start` is null or valid for reads of `length` bytes for as long as the slice is used.
pub(super) unsafe fn input<'a>(start: *const CK_BYTE, length: CK_ULONG) -> Result<&'a [u8]> {
    // SAFETY: as for this function.
    unsafe { array(start, length) }
}

/// The items of an input array. Null is the empty array if its length is 0.
///
/// # Safety
/// `start` is null or valid for reads of `length` items for as long as the slice is used.
pub(super) unsafe fn array<'a, T>(start: *const T, length: CK_ULONG) -> Result<&'a [T]> {
    let length = usize::try_from(length).or(Err(BAD))?;
    if length == 0 {
        return Ok(&[]);
    }
    let bytes = length.checked_mul(size_of::<T>()).ok_or(BAD)?;
    if start.is_null() || !start.is_aligned() || isize::try_from(bytes).is_err() {
        return Err(BAD);
    }
    // SAFETY: not null, aligned, no larger than an object can be; valid by this function's terms.
    Ok(unsafe { slice::from_raw_parts(start, length) })
}

/// A structure that is read.
///
/// # Safety
/// `start` is null or valid for reads for as long as the reference is used.
pub(super) unsafe fn structure<'a, T>(start: *const T) -> Result<&'a T> {
    // SAFETY: as for this function.
    unsafe { start.as_ref() }.ok_or(BAD)
}

/// A copy of a template.
///
/// # Safety
/// `start` is null or valid for reads of `count` attributes, each of whose values is null or valid
/// for reads of its length.
pub(super) unsafe fn template(start: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Template> {
    let mut entries = Vec::new();
    // SAFETY: as for this function.
    for attribute in unsafe { array(start, count) }? {
        // SAFETY: as for this function; it is copied before the call ends.
        let value = unsafe { input(attribute.pValue.cast(), attribute.ulValueLen) }?;
        entries.push((attribute.type_, Zeroizing::new(value.to_vec())));
    }
    Ok(Template::new(entries))
}

/// A place for one value.
pub(super) struct Place<T>(NonNull<T>);

impl<T> Place<T> {
    /// Checks the pointer before any work is done.
    ///
    /// # Safety
    /// `place` is null or valid for writes for as long as this is used.
    pub(super) unsafe fn new(place: *mut T) -> Result<Self> {
        NonNull::new(place).map(Self).ok_or(BAD)
    }

    /// Writes the value.
    pub(super) fn put(&self, value: T) {
        // SAFETY: valid for writes by the terms of `new`.
        unsafe { self.0.write(value) }
    }
}

/// A place for an array, with the caller's count of it that is read and written.
pub(super) struct Array<T> {
    start: *mut T,
    count: NonNull<CK_ULONG>,
}

impl<T: Copy> Array<T> {
    /// Checks the pointer to the count; null for the array asks for the count.
    ///
    /// # Safety
    /// `count` is null or valid for reads and writes, and `start` is null or valid for writes of
    /// as many items as `count` says, for as long as this is used.
    pub(super) unsafe fn new(start: *mut T, count: *mut CK_ULONG) -> Result<Self> {
        let count = NonNull::new(count).ok_or(BAD)?;
        Ok(Self { start, count })
    }

    /// The caller's room.
    pub(super) fn room(&self) -> Room {
        if self.start.is_null() {
            return Room::Unknown;
        }
        // SAFETY: valid for reads by the terms of `new`.
        let count = unsafe { self.count.read() };
        Room::Bytes(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Writes all items, or only their count (PKCS#11 3.0 §5.2).
    ///
    /// # Errors
    /// `CKR_BUFFER_TOO_SMALL`, with the count that is needed written.
    pub(super) fn deliver(&self, items: &[T]) -> Result<()> {
        let room = self.room();
        self.put_count(items.len())?;
        match room {
            Room::Unknown => Ok(()),
            Room::Bytes(room) if room < items.len() => Err(Rv(CKR_BUFFER_TOO_SMALL)),
            Room::Bytes(_) => {
                // SAFETY: `start` is not null and has room for at least so many by the terms of
                // `new`; the items are this library's own and do not overlap it.
                unsafe {
                    self.start
                        .copy_from_nonoverlapping(items.as_ptr(), items.len());
                };
                Ok(())
            }
        }
    }

    fn put_count(&self, count: usize) -> Result<()> {
        let count = CK_ULONG::try_from(count).or(Err(BAD))?;
        // SAFETY: valid for writes by the terms of `new`.
        unsafe { self.count.write(count) };
        Ok(())
    }
}

impl Array<CK_BYTE> {
    /// Writes what an operation answered.
    ///
    /// # Errors
    /// `CKR_BUFFER_TOO_SMALL`, with the length that is needed written.
    pub(super) fn answer(&self, answer: Answer) -> Result<()> {
        match answer {
            Answer::Length(length) => self.put_count(length),
            Answer::TooSmall(length) => {
                self.put_count(length)?;
                Err(Rv(CKR_BUFFER_TOO_SMALL))
            }
            Answer::Bytes(bytes) => self.deliver(&bytes),
        }
    }
}
