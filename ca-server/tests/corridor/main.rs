//! The corridor in one process, with a clock that tests set and disks that are really full.

#[cfg(test)]
mod child;
#[cfg(test)]
#[path = "../common/module.rs"]
mod module;
#[cfg(test)]
mod world;

#[cfg(test)]
mod clock;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod files;
#[cfg(test)]
mod lots;
#[cfg(test)]
mod numbers;
#[cfg(test)]
mod older;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod set_aside;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod threads;
