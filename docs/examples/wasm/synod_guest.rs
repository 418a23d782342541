//! Synod's interface for WebAssembly jobs in Rust, in one file: copy it beside your job.
//!
//! Implement [`Job`] for a type with a `Default`, and name it once:
//!
//!     #[path = "synod_guest.rs"]
//!     mod synod_guest;
//!     synod_guest::job!(WordCount, adds_counts);   // or: job!(MyJob)
//!
//! Then `rustc --edition 2024 -O --target wasm32-unknown-unknown --crate-type cdylib job.rs` makes
//! `job.wasm`, and `synod run wasm INPUT.. --output FOLDER --set module=job.wasm` runs it. What is said
//! here in types, docs/formats/wasm.md says in bytes. A panic fails the record that caused it, with its
//! message in the error.
#![allow(dead_code, reason = "a job uses what it needs")]

/// The functions of a job. One value lives as long as a task; what it keeps between calls is its own.
pub trait Job: Default {
    /// Emits the pairs of one record.
    fn map(&mut self, record: Record<'_>, out: &mut Pairs);

    /// Emits the last pairs of a map task.
    fn finish_map(&mut self, out: &mut Pairs) {
        let _ = out;
    }

    /// A group of pairs with equal keys begins. Keys ascend bytewise within a task.
    fn begin(&mut self, key: &[u8], out: &mut Records) {
        let _ = (key, out);
    }

    /// One value of the group; a group may have any number of them, which need not fit in memory.
    fn value(&mut self, key: &[u8], value: &[u8], out: &mut Records);

    /// The group is over.
    fn end(&mut self, key: &[u8], out: &mut Records);
}

/// A record of input.
pub struct Record<'b> {
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Its key, if the input has keys.
    pub key: &'b [u8],
    /// The record, without what ends it.
    pub bytes: &'b [u8],
}

/// Takes the pairs that are emitted.
pub struct Pairs(Vec<u8>);

impl Pairs {
    /// Emits a pair.
    #[inline]
    pub fn emit(&mut self, key: &[u8], value: &[u8]) {
        let header = key.len() as u64 | (value.len() as u64) << 32;
        self.0.reserve(8 + key.len() + value.len());
        self.0.extend_from_slice(&header.to_le_bytes());
        append(&mut self.0, key);
        append(&mut self.0, value);
    }

    /// Emits a key with a count, as `adds_counts` wants it.
    #[inline]
    pub fn emit_count(&mut self, key: &[u8], count: u64) {
        self.emit(key, &count.to_le_bytes());
    }
}

/// Takes the records of output.
pub struct Records(Vec<u8>);

impl Records {
    /// Writes a record that consists of these parts.
    pub fn write(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.0.extend_from_slice(&(length as u32).to_le_bytes());
        for part in parts {
            append(&mut self.0, part);
        }
    }
}

/// Appends bytes. Short ones are copied by loads and stores: the instruction that copies memory is a call
/// out of the module.
#[inline]
fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len();
    let mut padded = [0; 16];
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        if length > 16 {
            return to.extend_from_slice(bytes);
        }
        padded[..8].copy_from_slice(head);
        padded[length - 8..length].copy_from_slice(tail);
    } else if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        padded[..4].copy_from_slice(head);
        padded[length - 4..length].copy_from_slice(tail);
    } else {
        for (to, byte) in padded.iter_mut().zip(bytes) {
            *to = *byte;
        }
    }
    to.extend_from_slice(&padded);
    to.truncate(to.len() - padded.len() + length);
}

#[link(wasm_import_module = "synod")]
unsafe extern "C" {
    #[link_name = "count"]
    fn import_count(name: *const u8, length: usize, amount: i64);
    #[link_name = "log"]
    fn import_log(line: *const u8, length: usize);
    #[link_name = "config"]
    fn import_config(name: *const u8, length: usize, into: *mut u8, room: usize) -> i32;
}

/// Adds to a counter of the job.
pub fn count(name: &str, amount: i64) {
    // SAFETY: the host reads what the slice spans.
    unsafe { import_count(name.as_ptr(), name.len(), amount) }
}

/// Writes a line to the task's log.
pub fn log(line: &str) {
    // SAFETY: the host reads what the slice spans.
    unsafe { import_log(line.as_ptr(), line.len()) }
}

/// The setting `--set arg.NAME=VALUE`, or what the engine says under `synod.NAME`.
pub fn config(name: &str) -> Option<String> {
    let mut value = Vec::new();
    loop {
        // SAFETY: the host reads what the one slice spans and writes what the other does.
        let length = unsafe {
            import_config(name.as_ptr(), name.len(), value.as_mut_ptr(), value.len())
        };
        let length = usize::try_from(length).ok()?;
        if length <= value.len() {
            value.truncate(length);
            return String::from_utf8(value).ok();
        }
        value.resize(length, 0);
    }
}

/// What the exported functions work with.
pub struct State<J> {
    job: J,
    batch: Vec<u8>,
    pairs: Pairs,
    records: Records,
    reduces: bool,
}

impl<J: Job> State<J> {
    /// A new instance. A panic is logged from here on.
    pub fn new(task: i32) -> State<J> {
        std::panic::set_hook(Box::new(|panic| log(&panic.to_string())));
        let (pairs, records) = (Pairs(Vec::new()), Records(Vec::new()));
        State { job: J::default(), batch: Vec::new(), pairs, records, reduces: task == 1 }
    }

    /// Room for a batch.
    pub fn buffer(&mut self, length: usize) -> *mut u8 {
        self.batch.clear();
        self.batch.resize(length, 0);
        self.batch.as_mut_ptr()
    }

    /// `synod_map`.
    pub fn map(&mut self) -> u64 {
        self.pairs.0.clear();
        let mut rest = &self.batch[..];
        while let Some((offset, after)) = rest.split_first_chunk() {
            let (key, after) = word(after);
            let (length, after) = word(after);
            let (key, after) = after.split_at(key);
            let (bytes, after) = after.split_at(length);
            let offset = u64::from_le_bytes(*offset);
            self.job.map(Record { offset, key, bytes }, &mut self.pairs);
            rest = after;
        }
        answer(&self.pairs.0)
    }

    /// `synod_reduce`.
    pub fn reduce(&mut self) -> u64 {
        self.records.0.clear();
        let (job, out) = (&mut self.job, &mut self.records);
        let mut rest = &self.batch[..];
        while !rest.is_empty() {
            let (length, after) = word(rest);
            let (flags, after) = word(after);
            let (values, after) = word(after);
            let key;
            (key, rest) = after.split_at(length);
            if flags & 1 == 0 {
                job.begin(key, out);
            }
            for _ in 0..values {
                let (length, after) = word(rest);
                let value;
                (value, rest) = after.split_at(length);
                job.value(key, value, out);
            }
            if flags & 2 == 0 {
                job.end(key, out);
            }
        }
        answer(&self.records.0)
    }

    /// `synod_finish`.
    pub fn finish(&mut self) -> u64 {
        self.pairs.0.clear();
        if !self.reduces {
            self.job.finish_map(&mut self.pairs);
        }
        answer(&self.pairs.0)
    }
}

fn word(bytes: &[u8]) -> (usize, &[u8]) {
    let (word, rest) = bytes.split_first_chunk().expect("the engine gives whole batches");
    (u32::from_le_bytes(*word) as usize, rest)
}

fn answer(bytes: &[u8]) -> u64 {
    (bytes.as_ptr() as u64) << 32 | bytes.len() as u64
}

/// Exports a job.
#[macro_export]
macro_rules! job {
    ($job:ty, adds_counts) => {
        /// Its values are counts, which the engine adds up before they travel.
        #[unsafe(no_mangle)]
        pub extern "C" fn synod_combine_add_u64() {}
        $crate::job!($job);
    };
    ($job:ty) => {
        thread_local! {
            static STATE: std::cell::RefCell<Option<$crate::synod_guest::State<$job>>> =
                const { std::cell::RefCell::new(None) };
        }

        fn with<T>(call: impl FnOnce(&mut $crate::synod_guest::State<$job>) -> T) -> T {
            STATE.with_borrow_mut(|state| call(state.as_mut().expect("synod_init comes first")))
        }

        /// The version of the interface.
        #[unsafe(no_mangle)]
        pub extern "C" fn synod_abi() -> i32 {
            1
        }

        /// Begins a task.
        #[unsafe(no_mangle)]
        pub extern "C" fn synod_init(task: i32) {
            let state = $crate::synod_guest::State::new(task);
            STATE.with_borrow_mut(|slot| *slot = Some(state));
        }

        /// Gives room for a batch.
        #[unsafe(no_mangle)]
        pub extern "C" fn synod_buffer(length: usize) -> *mut u8 {
            with(|state| state.buffer(length))
        }

        /// Maps a batch.
        #[unsafe(no_mangle)]
        pub extern "C" fn synod_map(_: *const u8, _: usize) -> u64 {
            with(|state| state.map())
        }

        /// Reduces a batch.
        #[unsafe(no_mangle)]
        pub extern "C" fn synod_reduce(_: *const u8, _: usize) -> u64 {
            with(|state| state.reduce())
        }

        /// Ends a task.
        #[unsafe(no_mangle)]
        pub extern "C" fn synod_finish() -> u64 {
            with(|state| state.finish())
        }
    };
}
pub use crate::job;
