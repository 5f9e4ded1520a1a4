//! The only user of the CA key: follows the log, replays its rules, journals, then signs.
