//! One instance of a module, and what it may ask of its host.
//!
//! Every address and length that comes out of it is checked against its memory. Where it fails, it is
//! gone: nothing is asked of an instance after its first fault.

use super::Limits;
use super::module::{Compiled, IMPORTS_FROM, engine};
use super::room::Room;
use super::ticker::{Ticking, now, ticks};
use crate::counters::Counters;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use wasmtime::{
    Caller, Engine, Linker, Memory, Store, StoreContextMut, Trap, TypedFunc, UpdateDeadline,
    WasmBacktrace, WasmParams, WasmResults,
};

/// Longest name of a counter.
const MAX_NAME_BYTES: usize = 256;
/// Longest line of the log; what follows is cut off.
const MAX_LINE_BYTES: usize = 4 << 10;
/// What one batch may log; more is counted and dropped.
const MAX_LOG_BYTES: usize = 64 << 10;
/// What one batch may give back, through any number of `synod_more`.
const MAX_GIVEN_BYTES: u64 = 1 << 30;
/// The bit of an answer that says that there is more.
const MORE: u64 = 1 << 31;

/// What a module was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Map,
    Reduce,
    Combine,
}

impl Entry {
    fn name(self) -> &'static str {
        match self {
            Entry::Map => "synod_map",
            Entry::Reduce => "synod_reduce",
            Entry::Combine => "synod_combine",
        }
    }

    /// What `synod_init` is told.
    fn number(self) -> u32 {
        match self {
            Entry::Map => 0,
            Entry::Reduce => 1,
            Entry::Combine => 2,
        }
    }
}

/// What an instance did that it must not, or did not that it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// What, without its place in the input.
    pub what: String,
    /// Whose it is.
    pub cause: Cause,
}

/// Whose a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The module's: it will do the same again.
    Module,
    /// It took too long, which may end otherwise on another day.
    Time,
    /// This machine's.
    Host,
    /// Nobody's: it was told to end.
    Cancelled,
}

impl Fault {
    pub fn new(what: impl Into<String>) -> Fault {
        Fault { what: what.into(), cause: Cause::Module }
    }
}

/// Takes an answer: the memory of the instance, and which part of it.
pub(super) type Take<'t, E> = &'t mut dyn FnMut(&[u8], Range<usize>) -> Result<(), E>;

/// What the host keeps for an instance.
pub(super) struct Host {
    room: Room,
    settings: Arc<BTreeMap<String, String>>,
    /// What it counted since the host last looked.
    pub counters: Counters,
    /// What it logged since then.
    pub log: Log,
    /// When its call began, in ticks, and how many it may take.
    began: u64,
    left: u64,
    /// Turned when nobody wants to know any more.
    cancelled: Arc<AtomicBool>,
}

impl Host {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }
}

/// Looks at every tick whether a call may go on.
fn tick(store: StoreContextMut<'_, Host>) -> wasmtime::Result<UpdateDeadline> {
    let host = store.data();
    match host.is_cancelled() || now() - host.began > host.left {
        true => Err(Trap::Interrupt.into()),
        false => Ok(UpdateDeadline::Continue(1)),
    }
}

/// Lines of the log.
#[derive(Default)]
pub(super) struct Log {
    pub lines: Vec<Vec<u8>>,
    bytes: usize,
    /// Lines that were too many.
    pub dropped: u64,
}

impl Log {
    fn add(&mut self, line: &[u8]) {
        let line = &line[..line.len().min(MAX_LINE_BYTES)];
        // An empty line takes room, too.
        self.bytes += line.len() + 1;
        if self.bytes > MAX_LOG_BYTES {
            self.dropped += 1;
        } else {
            self.lines.push(line.to_vec());
        }
    }
}

/// The functions that a module may import.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(IMPORTS_FROM, "count", count)?;
    linker.func_wrap(IMPORTS_FROM, "log", log)?;
    linker.func_wrap(IMPORTS_FROM, "config", config)?;
    Ok(linker)
}

/// Ends the call of a module that asked for what it cannot have.
fn refused(what: String) -> wasmtime::Error {
    wasmtime::Error::msg(what)
}

/// Bytes of the caller's memory, and the host's part of the store.
fn lent<'c>(
    caller: &'c mut Caller<'_, Host>,
    (start, length): (u32, u32),
    function: &str,
) -> wasmtime::Result<(Range<usize>, &'c mut [u8], &'c mut Host)> {
    let memory = caller.get_export("memory").and_then(|export| export.into_memory());
    let Some(memory) = memory else { return Err(refused("no memory".to_owned())) };
    let (bytes, host) = memory.data_and_store_mut(caller);
    match range(start, length, bytes.len()) {
        Some(range) => Ok((range, bytes, host)),
        None => Err(refused(format!(
            "{function} was given {length} bytes at {start}, beyond its memory"
        ))),
    }
}

fn count(
    mut caller: Caller<'_, Host>,
    name: u32,
    length: u32,
    amount: i64,
) -> wasmtime::Result<()> {
    let (name, bytes, host) = lent(&mut caller, (name, length), "count")?;
    if name.len() > MAX_NAME_BYTES {
        return Err(refused(format!(
            "the name of a counter has {length} bytes, {MAX_NAME_BYTES} are allowed"
        )));
    }
    let name = String::from_utf8_lossy(&bytes[name]);
    match u64::try_from(amount) {
        Ok(amount) => host.counters.count(&name, amount),
        Err(_) => {
            let line = format!("counter {} cannot fall by {amount}: ignored", name.escape_debug());
            host.log.add(line.as_bytes());
        }
    }
    Ok(())
}

fn log(mut caller: Caller<'_, Host>, line: u32, length: u32) -> wasmtime::Result<()> {
    let (line, bytes, host) = lent(&mut caller, (line, length), "log")?;
    host.log.add(&bytes[line]);
    Ok(())
}

/// Gives the length of a setting's value, or -1, and as much of it as there is room for.
fn config(
    mut caller: Caller<'_, Host>,
    name: u32,
    length: u32,
    into: u32,
    room: u32,
) -> wasmtime::Result<i32> {
    let (name, bytes, host) = lent(&mut caller, (name, length), "config")?;
    let Some(into) = range(into, room, bytes.len()) else {
        return Err(refused(format!(
            "config was given room for {room} bytes at {into}, beyond its memory"
        )));
    };
    let value = str::from_utf8(&bytes[name]).ok().and_then(|name| host.settings.get(name));
    let Some(value) = value else { return Ok(-1) };
    let copied = value.len().min(into.len());
    bytes[into][..copied].copy_from_slice(&value.as_bytes()[..copied]);
    Ok(i32::try_from(value.len()).unwrap_or(i32::MAX))
}

/// A range that lies within so many bytes.
fn range(start: u32, length: u32, within: usize) -> Option<Range<usize>> {
    let start = start as usize;
    let end = start.checked_add(length as usize)?;
    (end <= within).then_some(start..end)
}

/// An instance.
pub(super) struct Guest {
    store: Store<Host>,
    memory: Memory,
    buffer: TypedFunc<u32, u32>,
    entry: TypedFunc<(u32, u32), u64>,
    more: Option<TypedFunc<(), u64>>,
    finish: Option<TypedFunc<(), u64>>,
    entry_name: &'static str,
    ticks: u64,
    _ticking: Ticking,
}

impl Guest {
    /// Starts an instance for one kind of work, which ends once `cancelled` is turned.
    pub fn start(
        module: &Compiled,
        entry: Entry,
        limits: Limits,
        settings: Arc<BTreeMap<String, String>>,
        cancelled: Arc<AtomicBool>,
    ) -> Result<Guest, Fault> {
        let engine = engine().map_err(host_fault)?;
        let ticking = Ticking::begin(engine)
            .map_err(|error| host_fault(format!("no thread for its clock: {error}")))?;
        let host = Host {
            room: Room::new(limits.memory_bytes),
            settings,
            counters: Counters::default(),
            log: Log::default(),
            began: now(),
            left: ticks(limits.timeout_ms),
            cancelled,
        };
        let mut store = Store::new(engine, host);
        store.limiter(|host| &mut host.room);
        store.epoch_deadline_callback(tick);
        store.set_epoch_deadline(1);
        let instance = match module.instance.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => return Err(not_started(&error, store.data())),
        };
        let memory = instance.get_memory(&mut store, "memory").ok_or_else(missing)?;
        let function = |store: &mut Store<Host>, name| instance.get_func(store, name);
        macro_rules! typed {
            ($name:expr) => {
                match function(&mut store, $name) {
                    Some(function) => Some(
                        function.typed(&store).map_err(|error| Fault::new(format!("{error:#}")))?,
                    ),
                    None => None,
                }
            };
        }
        let initialize: Option<TypedFunc<(), ()>> = typed!("_initialize");
        let abi: Option<TypedFunc<(), u32>> = typed!("synod_abi");
        let init: Option<TypedFunc<u32, ()>> = typed!("synod_init");
        let guest = Guest {
            memory,
            buffer: typed!("synod_buffer").ok_or_else(missing)?,
            entry: typed!(entry.name()).ok_or_else(missing)?,
            more: typed!("synod_more"),
            finish: typed!("synod_finish"),
            entry_name: entry.name(),
            ticks: ticks(limits.timeout_ms),
            store,
            _ticking: ticking,
        };
        guest.initialize(entry, initialize, abi, init)
    }

    fn initialize(
        mut self,
        entry: Entry,
        initialize: Option<TypedFunc<(), ()>>,
        abi: Option<TypedFunc<(), u32>>,
        init: Option<TypedFunc<u32, ()>>,
    ) -> Result<Guest, Fault> {
        if let Some(initialize) = initialize {
            let called = self.call(&initialize, ());
            called.map_err(|error| self.fault(&error, "_initialize"))?;
        }
        if let Some(abi) = abi {
            let version = self.call(&abi, ());
            let version = version.map_err(|error| self.fault(&error, "synod_abi"))?;
            if version != ABI {
                let what = format!("it speaks version {version} of the interface, this is {ABI}");
                return Err(Fault::new(what));
            }
        }
        if let Some(init) = init {
            let called = self.call(&init, entry.number());
            called.map_err(|error| self.fault(&error, "synod_init"))?;
        }
        Ok(self)
    }

    /// Gives it a batch and everything that comes of it to `take`: its memory, and where in it.
    pub fn run<E: From<Fault>>(&mut self, batch: &[u8], take: Take<'_, E>) -> Result<(), E> {
        self.store.data_mut().left = self.ticks;
        let length = u32::try_from(batch.len())
            .map_err(|_| Fault::new(format!("a batch of {} bytes is too long", batch.len())))?;
        let buffer = self.buffer.clone();
        let start = self.call(&buffer, length);
        let start = start.map_err(|error| self.fault(&error, "synod_buffer"))?;
        let memory = self.memory.data_mut(&mut self.store);
        if start == 0 {
            let what = format!(
                "synod_buffer has no room for a batch of {length} bytes; its memory has {}",
                memory.len()
            );
            return Err(Fault::new(what).into());
        }
        let Some(room) = range(start, length, memory.len()) else {
            let what = format!("synod_buffer gave {length} bytes at {start}, beyond its memory");
            return Err(Fault::new(what).into());
        };
        memory[room].copy_from_slice(batch);
        let entry = self.entry.clone();
        let answer = self.call(&entry, (start, length));
        let answer = answer.map_err(|error| self.fault(&error, self.entry_name))?;
        self.take_all(answer, self.entry_name, take)
    }

    /// Tells it that there is nothing more to come.
    pub fn finish<E: From<Fault>>(&mut self, take: Take<'_, E>) -> Result<(), E> {
        let Some(finish) = self.finish.clone() else { return Ok(()) };
        self.store.data_mut().left = self.ticks;
        let answer = self.call(&finish, ());
        let answer = answer.map_err(|error| self.fault(&error, "synod_finish"))?;
        self.take_all(answer, "synod_finish", take)
    }

    fn take_all<E: From<Fault>>(
        &mut self,
        mut answer: u64,
        mut function: &'static str,
        take: Take<'_, E>,
    ) -> Result<(), E> {
        let mut given = 0;
        loop {
            let memory = self.memory.data(&self.store);
            let (start, length) = ((answer >> 32) as u32, (answer & (MORE - 1)) as u32);
            let Some(gift) = range(start, length, memory.len()) else {
                let what = format!("{function} gave {length} bytes at {start}, beyond its memory");
                return Err(Fault::new(what).into());
            };
            given += u64::from(length);
            if given > MAX_GIVEN_BYTES {
                let what = format!("one batch gave more than {MAX_GIVEN_BYTES} bytes");
                return Err(Fault::new(what).into());
            }
            take(memory, gift)?;
            if answer & MORE == 0 {
                return Ok(());
            }
            let Some(more) = self.more.clone() else {
                let what = format!("{function} says that there is more, but synod_more is missing");
                return Err(Fault::new(what).into());
            };
            function = "synod_more";
            let next = self.call(&more, ());
            answer = next.map_err(|error| self.fault(&error, function))?;
        }
    }

    /// What it has counted and logged since this was asked last.
    pub fn said(&mut self) -> (Counters, Log) {
        let host = self.store.data_mut();
        (std::mem::take(&mut host.counters), std::mem::take(&mut host.log))
    }

    /// Calls one of its functions. Only what goes by meanwhile is its time: what the host does with an
    /// answer, sort and spill, may take long and is no fault of the module. A call that is shorter than a
    /// tick costs one as often as a tick falls into it, so many short ones cost what they last.
    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        function: &TypedFunc<P, R>,
        parameters: P,
    ) -> wasmtime::Result<R> {
        let host = self.store.data_mut();
        if host.is_cancelled() {
            return Err(Trap::Interrupt.into());
        }
        host.began = now();
        self.store.set_epoch_deadline(1);
        let result = function.call(&mut self.store, parameters);
        let host = self.store.data_mut();
        host.left = host.left.saturating_sub(now() - host.began);
        result
    }

    fn fault(&self, error: &wasmtime::Error, function: &str) -> Fault {
        fault(error, function, self.store.data())
    }
}

fn host_fault(what: String) -> Fault {
    Fault { what, cause: Cause::Host }
}

/// Why there is no instance. Its own code runs at its start, too, and its limits hold; whatever else goes
/// wrong there is this machine's.
fn not_started(error: &wasmtime::Error, host: &Host) -> Fault {
    let own = host.is_cancelled()
        || error.is::<Trap>()
        || error.is::<WasmBacktrace>()
        || host.room.has_refused();
    match own {
        true => fault(error, "its start", host),
        false => host_fault(format!("there is no room for an instance: {error:#}")),
    }
}

/// The exports were checked, with their types, when the module was read.
fn missing() -> Fault {
    Fault::new("it does not export what this task needs")
}

/// The version of the interface.
const ABI: u32 = 1;

/// A fault in words: what, in which of its functions, and the last thing it said.
fn fault(error: &wasmtime::Error, function: &str, host: &Host) -> Fault {
    if host.is_cancelled() {
        let what = format!("{function} was told to end");
        return Fault { what, cause: Cause::Cancelled };
    }
    if let Some(failure) = host.room.failure() {
        return host_fault(format!("there is no room for what {function} needs: {failure}"));
    }
    let trap = error.downcast_ref::<Trap>();
    let mut cause = Cause::Module;
    let mut what = match trap {
        Some(Trap::Interrupt) => {
            cause = Cause::Time;
            format!("{function} took longer than its time")
        }
        Some(trap) => format!("{function} stopped with {trap}"),
        None => format!("{function} failed: {}", error.root_cause()),
    };
    let frame = error.downcast_ref::<WasmBacktrace>().and_then(|trace| trace.frames().first());
    if let Some(name) = frame.and_then(|frame| frame.func_name()) {
        what += &format!(" (in {})", shortened(name.as_bytes()));
    }
    if let Some(line) = host.log.lines.last() {
        what += &format!("; the last line it logged: {}", shortened(line));
    }
    Fault { what, cause }
}

/// A text of the module's, for a message.
fn shortened(text: &[u8]) -> String {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned();
    text.escape_debug().to_string()
}
