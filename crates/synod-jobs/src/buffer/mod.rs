//! Where emitted pairs wait in memory: combined in a table or appended to a sort buffer.

pub(crate) mod order;
pub(crate) mod pairs;
pub(crate) mod table;

#[cfg(test)]
mod crafted;
