//! What an instance may take of this machine, and whether the machine had it to give.
//!
//! What a module asks for beyond its limits it does not get, and that is its own fault. What it may have and
//! the machine cannot give is the machine's: another one may be able to.

use wasmtime::{ResourceLimiter, ResourcesRequired};

/// Elements of all tables of an instance together; they are outside its memory.
pub(super) const TABLE_ELEMENTS: usize = 100_000;
/// Tables of an instance.
const TABLES: usize = 16;

/// Refuses what a module wants at its start if it can never have it.
pub(super) fn check(wants: &ResourcesRequired) -> Result<(), String> {
    let largest = wants.max_initial_table_size.unwrap_or(0);
    if wants.num_tables as usize > TABLES || largest > TABLE_ELEMENTS as u64 {
        return Err(format!(
            "it has {} tables, the largest with {largest} elements: {TABLES} tables with \
             {TABLE_ELEMENTS} elements together are allowed",
            wants.num_tables
        ));
    }
    Ok(())
}

/// What one instance has, and what it may have.
#[derive(Debug)]
pub(super) struct Room {
    memory_bytes: usize,
    table_elements: usize,
    /// What the last table took.
    taken: usize,
    /// Whether it was refused something that it wanted at its start.
    refused: bool,
    /// What the machine could not give, in its words.
    failed: Option<String>,
}

impl Room {
    /// For an instance with so much memory.
    pub fn new(memory_bytes: usize) -> Room {
        let table_elements = TABLE_ELEMENTS;
        Room { memory_bytes, table_elements, taken: 0, refused: false, failed: None }
    }

    /// Whether the module wanted more than it may have.
    pub fn has_refused(&self) -> bool {
        self.refused
    }

    /// What this machine could not give.
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}

impl ResourceLimiter for Room {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let may = desired <= self.memory_bytes.min(maximum.unwrap_or(usize::MAX));
        self.refused |= !may && current == 0;
        Ok(may)
    }

    /// It was within every limit: so it is the machine that has no room. The module could only take that
    /// for a limit, and would give another answer than elsewhere.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed = Some(format!("{error:#}"));
        Err(error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let may = more <= self.table_elements && desired <= maximum.unwrap_or(usize::MAX);
        self.refused |= !may && current == 0;
        self.taken = if may { more } else { 0 };
        self.table_elements -= self.taken;
        Ok(may)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.table_elements += std::mem::take(&mut self.taken);
        self.failed = Some(format!("{error:#}"));
        Err(error)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        1
    }
}
