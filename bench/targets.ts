/**
 * Every target of what a write, a read and the record cost, in one table. It runs the other benchmarks, each in a process of its
 * own.
 */
import * as Schema from "effect/Schema"
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"
import { type Op, ops } from "./contestants.js"
import * as Options from "./options.js"

const asked = Options.options("Every target of what a write, a read and the record cost, in one table.", {
  quick: Options.flag("a rough look"),
  reads: Options.flag("reads and bytes too, for which the history takes an hour to make and read"),
  ...Options.historyOptions,
  results: Options.text(
    "keeps what was measured there, and takes what is there: an interrupted run goes on",
    "DIRECTORY"
  )
})
const { quick, results } = asked
const ofHistory = ["--transactions", String(asked.transactions), ...(asked.keep ? ["--keep"] : [])]

const run = (...args: ReadonlyArray<string>): string => {
  const kept = results === undefined ? undefined : join(results, `${basename(args[0] ?? "", ".ts")}.json`)
  if (kept !== undefined && existsSync(kept)) return readFileSync(kept, "utf8")
  const printed = measure(args)
  if (kept !== undefined) writeFileSync(kept, printed)
  return printed
}

const measure = (args: ReadonlyArray<string>): string => {
  process.stderr.write(`running: ${args.join(" ")}\n`)
  return execFileSync(process.execPath, ["--import", "tsx", ...args, "--json"], {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
    stdio: ["ignore", "pipe", "inherit"]
  })
}

const Cost = Schema.Struct({ cpu: Schema.UndefinedOr(Schema.Number), wall: Schema.Number })

const Verdicts = Schema.parseJson(
  Schema.Struct({
    server: Schema.String,
    measure: Schema.String,
    measured: Schema.Struct({
      single: Schema.Record({ key: Schema.String, value: Schema.Struct({ generic: Cost }) }),
      bulk: Schema.Record({ key: Schema.String, value: Schema.Struct({ floor: Cost, generic: Cost }) }),
      bytes: Schema.Record({ key: Schema.String, value: Schema.Struct({ generic: Schema.Number }) }),
      emptyBytes: Schema.Struct({ generic: Schema.Number, ours: Schema.Number })
    }),
    transaction: Schema.Struct({ plain: Schema.Number }),
    verdicts: Schema.Array(
      Schema.Struct({ what: Schema.String, ratio: Schema.Number, target: Schema.Number, met: Schema.Boolean })
    )
  })
)

const Counts = Schema.parseJson(
  Schema.Struct({
    rows: Schema.Array(
      Schema.Struct({
        name: Schema.String,
        op: Schema.String,
        counts: Schema.Record({ key: Schema.String, value: Schema.Number })
      })
    )
  })
)

const Sizes = Schema.parseJson(
  Schema.Struct({
    sizes: Schema.Array(
      Schema.Struct({
        op: Schema.String,
        rows: Schema.Number,
        each: Schema.Number,
        peak: Schema.UndefinedOr(Schema.Number)
      })
    )
  })
)

const Reads = Schema.parseJson(
  Schema.Struct({
    figures: Schema.Array(
      Schema.Struct({
        name: Schema.String,
        kind: Schema.String,
        wall: Schema.Struct({ p50: Schema.Number, p95: Schema.Number }),
        cpu: Schema.optional(Schema.Struct({ p50: Schema.Number, p95: Schema.Number })),
        server: Schema.optional(Schema.Struct({ p50: Schema.Number, p95: Schema.Number })),
        statements: Schema.Number,
        planning: Schema.Number
      })
    )
  })
)

const Durable = Schema.parseJson(
  Schema.Struct({ clients: Schema.Number, plain: Schema.Number, captured: Schema.Number })
)

const Month = Schema.parseJson(Schema.Struct({ grown: Schema.Number, packed: Schema.Number }))

interface Line {
  readonly what: string
  readonly seen: number
  /** Undefined if it is only told. */
  readonly target: number | undefined
  /** What is missing to the target: thousands of instructions, microseconds, or bytes a change. */
  readonly over?: { readonly instructions: number } | { readonly micros: number } | { readonly bytes: number }
  readonly why?: string
}

const lines: Array<Line> = []

const timed = Schema.decodeSync(Verdicts)(run("bench/main.ts", ...(quick ? ["--quick"] : [])))

const thousand = "a thousand rows in one statement, each"
const counted = run("bench/cost.ts", "--all", "--only", `^ordinary|^${thousand}`)
/** Thousands of instructions in a microsecond, as the generic trigger runs them; unknown where none are counted. */
let speed: number | undefined
if (counted.startsWith("skipped")) {
  process.stderr.write(counted)
} else {
  const { rows } = Schema.decodeSync(Counts)(counted)
  const of = (name: string, op: Op, contestant: string): number =>
    (rows.find((row) => row.name === name && row.op === op)?.counts[contestant] ?? Number.NaN) / 1000
  const rates = ops.map((op) => {
    const { cpu, wall } = timed.measured.single[op]?.generic ?? { cpu: undefined, wall: Number.NaN }
    return of("ordinary, in a procedure", op, "generic, actor") / (cpu ?? wall)
  })
  speed = rates.reduce((sum, rate) => sum + rate, 0) / rates.length
  const compare = (
    what: string,
    ours: string,
    peer: string,
    targets: Readonly<Record<Op, number>>,
    why: string,
    name = "ordinary table"
  ): void => {
    for (const op of rows.some((row) => row.name === name) ? ops : []) {
      const added = of(name, op, ours)
      const allowed = of(name, op, peer) * targets[op]
      lines.push({
        what: `${op}, ${what}`,
        seen: added / of(name, op, peer),
        target: targets[op],
        over: { instructions: added - allowed },
        why
      })
    }
  }
  const indexes = "two rows with ten indexes where the generic trigger has nine, and what it does not check"
  compare("no context: of the generic trigger", "ours", "generic", { insert: 1, update: 0.8, delete: 1 }, indexes)
  const checked =
    "set_context is a definer with a pinned path; the document is checked field by field in each transaction"
  compare(
    "set_context: of the generic trigger with its actor",
    "ours, context",
    "generic, actor",
    { insert: 1.1, update: 0.9, delete: 1.1 },
    checked
  )
  compare(
    "set_context: of the one that works as Carbonite 12",
    "ours, context",
    "Carbonite-like",
    { insert: 0.9, update: 0.9, delete: 0.9 },
    checked
  )
  compare(
    "a row of a thousand: of the floor",
    "ours",
    "floor",
    { insert: 2.3, update: 4.5, delete: 2.3 },
    "an entry in an index takes 16 thousand; an insert or update makes three, a delete four, the floor none",
    thousand
  )
}
/** Why a ratio misses its target, and what is missing. */
const missed = (what: string, ratio: number, target: number): Pick<Line, "over" | "why"> => {
  const micros = (unit: number) => ({ micros: (ratio - target) * unit })
  if (what.startsWith("Audit.transaction")) {
    return { why: "the messages and rows of a context, over the host's own", over: micros(timed.transaction.plain) }
  }
  if (what.startsWith("bytes")) {
    const single = what.includes("single-row")
    const { generic } = timed.measured.bytes[single ? "single" : "bulk"] ?? { generic: Number.NaN }
    return {
      why: single
        ? "the transaction's row has five indexes, that of the generic trigger three"
        : "the key as text and as JSON, and an index of row histories with it",
      over: { bytes: (ratio - target) * generic }
    }
  }
  const op = ops.find((each) => what.startsWith(`bulk ${each}`))
  if (op === undefined) return {}
  const { floor, generic } = timed.measured.bulk[op] ?? {}
  return /floor/.test(what)
    ? {
        why: "the floor has no index, no key and no comparison",
        over: micros(floor?.cpu ?? floor?.wall ?? Number.NaN)
      }
    : { why: "indexes and an image of each row", over: micros(generic?.cpu ?? generic?.wall ?? Number.NaN) }
}
// Instructions are the better measure of what both tell.
const hasFloor = lines.some(({ what }) => what.includes("floor"))
for (const { ratio, target, what } of timed.verdicts) {
  if (speed !== undefined && (/^single-row/.test(what) || (hasFloor && /floor/.test(what)))) continue
  lines.push({ what, seen: ratio, target, ...missed(what, ratio, target) })
}
lines.push({
  what: "kilobytes of an empty record with its partitions, of the generic trigger's empty tables",
  seen: timed.measured.emptyBytes.ours / timed.measured.emptyBytes.generic,
  target: undefined
})

const { sizes } = Schema.decodeSync(Sizes)(run("bench/large.ts", "--rows", quick ? "100000" : "1000000"))
for (const op of ops) {
  const seen = sizes.filter((size) => size.op === op)
  const [small, large] = [seen[0], seen.at(-1)]
  if (small === undefined || large === undefined) continue
  lines.push(
    { what: `${op} of ${large.rows} rows: a row, of one of ${small.rows}`, seen: large.each / small.each, target: 1.3 },
    { what: `${op} of ${large.rows} rows: megabytes of memory`, seen: large.peak ?? Number.NaN, target: 512 }
  )
}

const durable = Schema.decodeSync(Durable)(run("bench/durable.ts", ...(quick ? ["--seconds", "1"] : [])))
lines.push({
  what: `durable commits of ${durable.clients} clients: transactions a second without capture, of those with a context`,
  seen: durable.plain / durable.captured,
  target: undefined
})

if (asked.reads) {
  const { packed } = Schema.decodeSync(Month)(run("bench/month.ts", ...ofHistory))
  const { figures } = Schema.decodeSync(Reads)(run("bench/reads.ts", ...ofHistory))
  // Both are above the wait on a machine with nothing else to do: a wait has what others do in it, and the CPU has threads of the
  // client's runtime that nobody waits for. The smaller one is nearer.
  const reads = figures.map(({ cpu, kind, name, planning, server, statements, wall }) => {
    const pages = name.startsWith("as-of, rows of")
    const seen = Math.min(cpu?.p95 ?? Number.POSITIVE_INFINITY, wall.p95)
    const parts =
      cpu === undefined || server === undefined
        ? ""
        : `; CPU at the median ${cpu.p50.toFixed(1)}, of it the server ${server.p50.toFixed(1)}`
    const why = `${statements} ${statements === 1 ? "statement" : "statements"}, planned in ${planning.toFixed(1)}${parts}`
    return { name, listed: kind === "index" || pages, seen, target: pages ? 50 : 10, why }
  })
  const listed = reads.filter((read) => read.listed)
  const met = listed.filter(({ seen, target }) => seen <= target)
  const missed = listed.filter((read) => !met.includes(read))
  lines.push(
    { what: "index bytes a change, a month that is over, packed", seen: packed, target: 150 },
    {
      what: "slowest read that meets it: ms, p95",
      seen: Math.max(...met.filter(({ target }) => target === 10).map(({ seen }) => seen)),
      target: 10
    },
    { what: `listed reads beyond their target, of ${listed.length}`, seen: missed.length, target: 0 },
    ...missed.map(({ name, seen, target, why }) => ({
      what: `${name}: ms, p95`,
      seen,
      target,
      over: { micros: (seen - target) * 1000 },
      why
    }))
  )
}

const width = Math.max(...lines.map(({ what }) => what.length))
console.log(
  [
    `PostgreSQL ${timed.server}; instructions where "of the generic trigger" has no other word, else ${timed.measure} time`,
    "",
    `${"".padEnd(width)}    seen  target`,
    ...lines.map(({ over, seen, target, what, why }) => {
      const met = target === undefined || seen <= target
      const price =
        met || over === undefined
          ? ""
          : "micros" in over
            ? `  ${over.micros.toFixed(1)} microseconds: ${why ?? ""}`
            : "bytes" in over
              ? `  ${over.bytes.toFixed(0)} bytes a change: ${why ?? ""}`
              : `  ${over.instructions.toFixed(0)} thousand instructions${speed === undefined ? "" : `, ${(over.instructions / speed).toFixed(0)} microseconds`}: ${why ?? ""}`
      return `${what.padEnd(width)}  ${seen.toFixed(2).padStart(6)}  ${(target?.toFixed(2) ?? "-").padStart(6)}  ${target === undefined ? "told" : met ? "met" : "missed"}${price}`
    })
  ].join("\n")
)
