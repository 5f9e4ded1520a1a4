//! Both ends of the factory protocol against each other.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod common;
#[cfg(test)]
mod dialogue;
#[cfg(test)]
mod line;
