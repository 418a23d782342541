//! Reads a module, checks what it exports and imports, and compiles it once for the process.
//!
//! A few compiled modules are kept, found by the SHA-256 of the file: a thousand tasks compile once, and
//! nobody gets the code of another job. The compiler works on a thread of its own (`compilers.rs`), because
//! it may take very long for few bytes (its time grows with the square of the loops of a function) and
//! cannot be stopped: after a minute nobody waits for it any more. The one engine of all modules is made
//! here, with every setting that decides what modules may do.

use super::compilers::{Compilers, Fault, Kept, Slot};
use super::cost::{self, Refusal};
use super::guest::{Host, linker};
use super::room;
use crate::cluster::sent::hexadecimal;
use crate::error::JobError;
use crate::progress::Progress;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use wasmtime::{
    Config, Engine, ExternType, FuncType, InstancePre, Module, OptLevel, RegallocAlgorithm,
    Strategy, ValType,
};

/// Longest file of a module.
const MAX_MODULE_BYTES: u64 = 16 << 20;
/// What the compiler may take. Some MiB of code as compilers write it are a matter of seconds.
const COMPILE_LIMIT: Duration = Duration::from_secs(60);
/// Modules that are compiled at the same time, those among them that nobody waits for any more.
static COMPILERS: Compilers = Compilers::new(4, COMPILE_LIMIT);
/// Compiled modules that are kept.
const KEPT: usize = 8;
/// Stack of a module. The threads of tasks have at least four times as much.
const STACK_BYTES: usize = 512 << 10;
/// What every WebAssembly binary begins with; what does not is text.
const MAGIC: &[u8] = b"\0asm";
/// Exports of the interface begin like this.
const PREFIX: &str = "synod_";
/// Where imports come from.
pub(super) const IMPORTS_FROM: &str = "synod";

use ValType::{I32, I64};

/// What a module may export for the engine, with its type and whether it must.
const EXPORTS: [(&str, &[ValType], &[ValType], bool); 10] = [
    ("synod_abi", &[], &[I32], true),
    ("synod_buffer", &[I32], &[I32], true),
    ("synod_map", &[I32, I32], &[I64], true),
    ("synod_reduce", &[I32, I32], &[I64], false),
    ("synod_combine", &[I32, I32], &[I64], false),
    ("synod_combine_add_u64", &[], &[], false),
    ("synod_init", &[I32], &[], false),
    ("synod_finish", &[], &[I64], false),
    ("synod_more", &[], &[I64], false),
    ("_initialize", &[], &[], false),
];

/// What a module may import.
const IMPORTS: [(&str, &[ValType], &[ValType]); 3] = [
    ("count", &[I32, I32, I64], &[]),
    ("log", &[I32, I32], &[]),
    ("config", &[I32, I32, I32, I32], &[I32]),
];

/// A module that has been checked and compiled.
pub(super) struct Compiled {
    hash: [u8; 32],
    /// Its imports are resolved.
    pub instance: InstancePre<Host>,
}

impl Compiled {
    /// Whether it has a reduce function.
    pub fn reduces(&self) -> bool {
        self.exports("synod_reduce")
    }

    /// Whether it has a combiner.
    pub fn combines(&self) -> bool {
        self.exports("synod_combine")
    }

    /// Whether its values are counts to be added.
    pub fn adds(&self) -> bool {
        self.exports("synod_combine_add_u64")
    }

    fn exports(&self, name: &str) -> bool {
        self.instance.module().get_export(name).is_some()
    }

    /// The SHA-256 of its file, in hexadecimal.
    pub fn hash(&self) -> String {
        hexadecimal(&self.hash)
    }
}

/// Reads and compiles the module at `path`, which must have the SHA-256 `wanted`, if one is given. Ends soon
/// after `progress` is cancelled.
pub(super) fn load(
    path: &Path,
    wanted: Option<&str>,
    progress: &Progress,
) -> Result<Arc<Compiled>, JobError> {
    let bytes = read(path)?;
    let hash: [u8; 32] = Sha256::digest(&bytes).into();
    let is = hexadecimal(&hash);
    if let Some(wanted) = wanted
        && !wanted.eq_ignore_ascii_case(&is)
    {
        return Err(refused(path, &format!("its SHA-256 is {is}, the job wants {wanted}")));
    }
    // Others may want another module meanwhile, so the list is not locked while one is compiled.
    let slot = slot_of(hash);
    let compiled = COMPILERS.get(&slot, progress, move || compile(&bytes, hash).map(Arc::new));
    compiled.map_err(|fault| match fault {
        Fault::Module(what) => refused(path, &what),
        // Another machine may well be able to, and this one later.
        Fault::Host(what) => JobError::io("compile module", path, io::Error::other(what)),
        Fault::Cancelled => JobError::Cancelled,
    })
}

fn refused(path: &Path, what: &str) -> JobError {
    JobError::BadSpec { what: format!("module {}: {what}", path.display()) }
}

fn read(path: &Path) -> Result<Vec<u8>, JobError> {
    let failed = |error| JobError::io("read module", path, error);
    // Before it is opened: that may wait for ever for the other end of a pipe.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(refused(path, "it is not a regular file"));
    }
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_MODULE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_MODULE_BYTES {
        return Err(refused(path, &format!("it is longer than {MAX_MODULE_BYTES} bytes")));
    }
    Ok(bytes)
}

type ModuleSlot = Arc<Slot<Arc<Compiled>>>;

/// The place of a module among those that are kept.
fn slot_of(hash: [u8; 32]) -> ModuleSlot {
    static SLOTS: Mutex<Kept<Arc<Compiled>>> = Mutex::new(Kept::new(KEPT));
    SLOTS.lock().unwrap_or_else(PoisonError::into_inner).slot(hash)
}

/// The engine of all modules.
pub(super) fn engine() -> Result<&'static Engine, String> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let made = ENGINE.get_or_init(|| {
        let mut config = Config::new();
        config
            .strategy(Strategy::Cranelift)
            .cranelift_opt_level(OptLevel::Speed)
            .cranelift_regalloc_algorithm(RegallocAlgorithm::Backtracking)
            // What a module computes must not depend on the machine.
            .cranelift_nan_canonicalization(true)
            .wasm_relaxed_simd(false)
            .wasm_simd(true)
            .wasm_bulk_memory(true)
            .wasm_multi_value(true)
            .wasm_multi_memory(false)
            .wasm_memory64(false)
            .wasm_tail_call(false)
            .max_wasm_stack(STACK_BYTES)
            .epoch_interruption(true);
        Engine::new(&config).map_err(|error| format!("WebAssembly cannot run here: {error:#}"))
    });
    made.as_ref().map_err(Clone::clone)
}

fn compile(bytes: &[u8], hash: [u8; 32]) -> Result<Compiled, String> {
    let binary = if bytes.starts_with(MAGIC) {
        bytes.into()
    } else {
        wat::parse_bytes(bytes)
            .map_err(|error| format!("it is neither WebAssembly nor its text: {error}"))?
    };
    check_cost(&binary)?;
    let module = Module::new(engine()?, &*binary).map_err(|error| format!("{error:#}"))?;
    check_exports(&module)?;
    check_imports(&module)?;
    room::check(&module.resources_required())?;
    let instance = linker(engine()?).and_then(|linker| linker.instantiate_pre(&module));
    let instance = instance.map_err(|error| format!("{error:#}"))?;
    let compiled = Compiled { hash, instance };
    if compiled.adds() && compiled.combines() {
        return Err("it exports synod_combine and synod_combine_add_u64; one of them is \
                    enough"
            .to_owned());
    }
    Ok(compiled)
}

/// What breaks a limit is refused before the compiler sees it. Where that cannot be found out the engine says
/// what is wrong.
fn check_cost(binary: &[u8]) -> Result<(), String> {
    match cost::check(binary) {
        Ok(()) => Ok(()),
        Err(Refusal::Limit(what)) => Err(what),
        Err(Refusal::Malformed(what)) => {
            let invalid = Module::validate(engine()?, binary).err();
            Err(invalid.map_or(what, |error| format!("{error:#}")))
        }
    }
}

fn check_exports(module: &Module) -> Result<(), String> {
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        return Err("it does not export its memory as `memory`".to_owned());
    }
    for (name, parameters, results, must) in EXPORTS {
        match module.get_export(name) {
            Some(ExternType::Func(is)) if has_type(&is, parameters, results) => {}
            Some(_) => {
                return Err(format!("export {name} is not {}", shown(parameters, results)));
            }
            None if must => {
                return Err(format!("export {name} is missing: {}", shown(parameters, results)));
            }
            None => {}
        }
    }
    let unknown = module
        .exports()
        .map(|export| export.name())
        .find(|name| name.starts_with(PREFIX) && !EXPORTS.iter().any(|(known, ..)| known == name));
    match unknown {
        Some(name) => Err(format!("export {name} has no meaning: see docs/formats/wasm.md")),
        None => Ok(()),
    }
}

fn check_imports(module: &Module) -> Result<(), String> {
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let known = IMPORTS.iter().find(|(known, ..)| from == IMPORTS_FROM && *known == name);
        let Some((_, parameters, results)) = known else {
            let known = IMPORTS.map(|(known, ..)| known).join(", ");
            return Err(format!(
                "it imports {from}.{name}: all that there is are {known} of {IMPORTS_FROM}"
            ));
        };
        let ty = import.ty();
        if !ty.func().is_some_and(|is| has_type(is, parameters, results)) {
            return Err(format!("import {from}.{name} is {}", shown(parameters, results)));
        }
    }
    Ok(())
}

fn has_type(is: &FuncType, parameters: &[ValType], results: &[ValType]) -> bool {
    let equal = |are: &mut dyn Iterator<Item = ValType>, wanted: &[ValType]| {
        let are: Vec<ValType> = are.collect();
        are.len() == wanted.len() && are.iter().zip(wanted).all(|(a, b)| ValType::eq(a, b))
    };
    equal(&mut is.params(), parameters) && equal(&mut is.results(), results)
}

fn shown(parameters: &[ValType], results: &[ValType]) -> String {
    let list =
        |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("a function ({}) -> ({})", list(parameters), list(results))
}
