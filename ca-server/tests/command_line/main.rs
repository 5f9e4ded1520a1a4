//! The program as its operator meets it: the ceremony on either module, approvals, and refusals that say what to do.

#[cfg(test)]
#[path = "../common/module.rs"]
mod module;
#[cfg(test)]
mod room;

#[cfg(test)]
mod approvals;
#[cfg(test)]
mod ceremony;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod unknown;
