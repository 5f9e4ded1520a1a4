//! One maker with a CA, a log and devices, and everything that can be wrong with them.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod device;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod house;
#[cfg(test)]
mod lots;
