//! What a module asks of the compiler, found out before the compiler sees it.
//!
//! A compiler cannot be stopped, and few bytes can keep it busy for hours or make it take all the memory
//! that there is: loops, branches, local variables and long signatures cost far more than they are long. All
//! that its work grows with is counted here in one walk over the module, which takes milliseconds for a MiB.
//! A module that has too much of something is refused by the limit that it breaks and the function that does
//! so, by its index as tools show it: imports first. What the costliest module takes that is let through is
//! in `docs/formats/wasm.md`.
//!
//! Whether a module is valid is not decided here: the engine looks at that, and where this walk cannot go on
//! the engine has the word.

use wasmparser::{
    BinaryReaderError, BlockType, ElementItems, FunctionBody, Operator, Parser, Payload, TypeRef,
};

/// Functions of a module. Each may need an entry of its own from outside.
const FUNCTIONS: u32 = 50_000;
/// Types of functions; the compiler makes code for each.
const TYPES: u32 = 10_000;
/// Parameters and results of a function or a block.
const SIGNATURE: u32 = 128;
/// Imports; there are three functions to import.
const IMPORTS: u32 = 1_000;
/// Global variables. They lie outside the memory of an instance, and so do 32 bytes for each function.
const GLOBALS: u32 = 10_000;
/// Elements of all segments for tables.
const ELEMENTS: u32 = super::room::TABLE_ELEMENTS as u32;
/// Bytes of a function.
const BODY_BYTES: usize = 512 << 10;
/// Parameters and local variables of a function.
const LOCALS: u64 = 10_000;
/// Loops of a function: the compiler's time grows with their square.
const LOOPS: u64 = 1_000;
/// Blocks and targets of branches of a function.
const WAYS: u64 = 20_000;
/// Units of work of one function: what the compiler needs memory for at a time, about a KiB for each.
const FUNCTION_WORK: u64 = 400_000;
/// Units of work of a module, of about 5 us each.
const WORK: u64 = 8_000_000;

/// Why a module is not compiled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It breaks a limit.
    Limit(String),
    /// The walk could not go on.
    Malformed(String),
}

impl From<BinaryReaderError> for Refusal {
    fn from(error: BinaryReaderError) -> Refusal {
        Refusal::Malformed(error.to_string())
    }
}

/// Refuses a module, in its binary form, that would cost the compiler too much.
pub(super) fn check(binary: &[u8]) -> Result<(), Refusal> {
    let mut module = Module::default();
    for payload in Parser::new(0).parse_all(binary) {
        module.section(binary, payload?)?;
    }
    Ok(())
}

/// What is known of a module so far.
#[derive(Default)]
struct Module {
    /// Parameters and results of each type.
    types: Vec<Signature>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    /// Functions whose code was seen, and imported ones.
    seen: u32,
    elements: u32,
    work: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Signature {
    parameters: u32,
    results: u32,
}

impl Signature {
    fn values(self) -> u64 {
        u64::from(self.parameters) + u64::from(self.results)
    }
}

fn limit(what: &str, has: u64, most: u64) -> Result<(), Refusal> {
    match has > most {
        true => Err(Refusal::Limit(format!("it has {has} {what}: {most} are allowed"))),
        false => Ok(()),
    }
}

impl Module {
    fn section(&mut self, binary: &[u8], payload: Payload<'_>) -> Result<(), Refusal> {
        match payload {
            Payload::TypeSection(types) => {
                limit("types of functions", types.count().into(), TYPES.into())?;
                for (index, ty) in types.into_iter_err_on_gc_types().enumerate() {
                    let ty = ty?;
                    let (parameters, results) =
                        (ty.params().len() as u32, ty.results().len() as u32);
                    let signature = Signature { parameters, results };
                    let what = format!("parameters and results in type {index}");
                    limit(&what, signature.values(), SIGNATURE.into())?;
                    self.types.push(signature);
                    self.work += Function::FIXED + signature.values();
                }
            }
            Payload::ImportSection(imports) => {
                limit("imports", imports.count().into(), IMPORTS.into())?;
                for import in imports {
                    if let TypeRef::Func(ty) = import?.ty {
                        self.functions.push(ty);
                        self.seen += 1;
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                limit("functions", functions.count().into(), FUNCTIONS.into())?;
                for ty in functions {
                    self.functions.push(ty?);
                }
            }
            Payload::GlobalSection(globals) => {
                limit("global variables", globals.count().into(), GLOBALS.into())?;
            }
            Payload::ElementSection(segments) => {
                for segment in segments {
                    let count = match segment?.items {
                        ElementItems::Functions(functions) => functions.count(),
                        ElementItems::Expressions(_, expressions) => expressions.count(),
                    };
                    self.elements = self.elements.saturating_add(count);
                    limit("elements of tables", self.elements.into(), ELEMENTS.into())?;
                }
            }
            Payload::CodeSectionEntry(body) => self.function(binary, &body)?,
            _ => {}
        }
        Ok(())
    }

    /// The signature of a type; what is not there the engine will refuse.
    fn signature(&self, ty: u32) -> Signature {
        self.types.get(ty as usize).copied().unwrap_or_default()
    }

    fn function_signature(&self, function: u32) -> Signature {
        let ty = self.functions.get(function as usize);
        ty.map_or_else(Signature::default, |ty| self.signature(*ty))
    }

    fn block_signature(&self, ty: BlockType) -> Signature {
        match ty {
            BlockType::Empty => Signature::default(),
            BlockType::Type(_) => Signature { parameters: 0, results: 1 },
            BlockType::FuncType(ty) => self.signature(ty),
        }
    }

    fn function(&mut self, binary: &[u8], body: &FunctionBody<'_>) -> Result<(), Refusal> {
        let index = self.seen;
        self.seen += 1;
        let has = |what: &str, has: u64, most: u64| {
            limit(&format!("{what} in function {index}"), has, most)
        };
        has("bytes of code", body.range().len() as u64, BODY_BYTES as u64)?;
        let signature = self.function_signature(index);
        let mut function = Function {
            locals: signature.parameters.into(),
            labels: vec![signature.results],
            ..Function::default()
        };
        for locals in body.get_locals_reader()? {
            function.locals += u64::from(locals?.0);
        }
        has("local variables", function.locals, LOCALS)?;
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, offset) = operator?;
            function.operators += weight(binary.get(offset).copied().unwrap_or(0));
            function.operator(self, &operator)?;
        }
        has("loops", function.loops, LOOPS)?;
        has("blocks and targets of branches", function.ways, WAYS)?;
        has("units of work for the compiler", function.work(), FUNCTION_WORK)?;
        self.work += function.work() + function.time();
        let most = format!("units of work for the compiler in functions 0 to {index}");
        limit(&most, self.work, WORK)
    }
}

/// What an operator costs beside the values that it moves, by the first byte of its code.
fn weight(opcode: u8) -> u64 {
    match opcode {
        // `call_indirect`: a table, a type and a null are looked at.
        0x11 => 40,
        // `table.get`, `table.set`.
        0x25 | 0x26 => 10,
        // Arithmetic of floating point: of a NaN one pattern is made.
        0x8b..=0xa6 => 6,
        // Conversions.
        0xa8..=0xbf => 3,
        // Saturating conversions, and what works on much memory.
        0xfc => 6,
        // Vectors.
        0xfd => 4,
        _ => 1,
    }
}

/// What is known of a function so far.
#[derive(Default)]
struct Function {
    /// Values that each label takes that a branch may lead to, the innermost last.
    labels: Vec<u32>,
    locals: u64,
    loops: u64,
    ways: u64,
    /// Assignments to local variables where control may come from elsewhere.
    assignments: u64,
    /// Operators by their weight, and values that they move.
    operators: u64,
}

impl Function {
    /// What a function costs that does nothing.
    const FIXED: u64 = 25;

    fn operator(&mut self, module: &Module, operator: &Operator<'_>) -> Result<(), Refusal> {
        match *operator {
            Operator::Block { blockty } | Operator::If { blockty } => {
                let signature = module.block_signature(blockty);
                self.open(signature, signature.results);
            }
            Operator::Loop { blockty } => {
                let signature = module.block_signature(blockty);
                self.open(signature, signature.parameters);
                self.loops += 1;
            }
            Operator::Else => self.ways += 1,
            Operator::End => drop(self.labels.pop()),
            Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => {
                self.branch(relative_depth);
            }
            Operator::BrTable { ref targets } => {
                let mut labels = targets.targets().collect::<Result<Vec<u32>, _>>()?;
                labels.push(targets.default());
                self.operators += labels.len() as u64 / 8;
                // A label that is there many times is one way.
                labels.sort_unstable();
                labels.dedup();
                labels.into_iter().for_each(|label| self.branch(label));
            }
            Operator::Return => self.branch(self.labels.len().saturating_sub(1) as u32),
            Operator::Call { function_index } => {
                self.operators += module.function_signature(function_index).values();
            }
            Operator::CallIndirect { type_index, .. } => {
                self.operators += module.signature(type_index).values();
            }
            Operator::LocalSet { .. } | Operator::LocalTee { .. } if self.labels.len() > 1 => {
                self.assignments += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, signature: Signature, label: u32) {
        self.labels.push(label);
        self.ways += 1;
        self.operators += signature.values();
    }

    fn branch(&mut self, depth: u32) {
        let label = self.labels.len().checked_sub(1 + depth as usize);
        self.ways += 1;
        self.operators += label.map_or(0, |label| u64::from(self.labels[label]));
    }

    /// What takes memory, and time with it: a variable may be another one behind each way.
    fn work(&self) -> u64 {
        let crossings = self.locals * (self.ways + self.loops);
        Self::FIXED + self.operators + self.locals / 64 + self.ways + crossings / 8
    }

    /// What takes time beside that: the compiler compares loops with loops, and each value that comes from
    /// several places with all others there.
    fn time(&self) -> u64 {
        let loops = self.loops * self.loops / 32;
        loops + self.assignments.saturating_mul(self.locals * self.ways) / 2_500
    }
}
