/**
 * What capture costs in instructions of the backend. They repeat where time does not: to about one in a hundred.
 */
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import pg from "pg"
import * as TestCluster from "../test/harness/TestCluster.js"
import { countInstructions, type Phase, valgrindVersion } from "./callgrind.js"
import { type Op, ops } from "./contestants.js"
import { configuration, type Contestant, contestantsOf, installing } from "./costContestants.js"
import {
  create,
  narrow,
  ordinary,
  partitioned,
  procedures,
  redacted,
  type Table,
  tables,
  wide,
  write
} from "./costTables.js"
import * as Options from "./options.js"

const { all, before, json, of, only } = Options.options("What capture costs in instructions of the backend.", {
  all: Options.flag("more tables and shapes"),
  before: Options.text("counts this version too", "COMMIT"),
  only: Options.pattern("the cases whose name fits"),
  of: Options.pattern("the contestants whose name fits"),
  json: Options.json
})

interface Case {
  readonly name: string
  readonly table: Table
  /** A message of its own, or in a procedure that commits after each. */
  readonly inside: boolean
  /** Rows of one statement, statements of one transaction, transactions that are counted. */
  readonly rows: number
  readonly statements: number
  readonly transactions: number
}

const single = (name: string, table: Table, more: Partial<Case> = {}): Case => ({
  name,
  table,
  inside: false,
  rows: 1,
  statements: 1,
  transactions: 20,
  ...more
})

const cases: ReadonlyArray<Case> = [
  single("ordinary table", ordinary),
  single("partitioned table", partitioned),
  single("ordinary, in a procedure", ordinary, { inside: true }),
  single("partitioned, in a procedure", partitioned, { inside: true }),
  ...(all
    ? [
        single("ten statements in one transaction, each", ordinary, { statements: 10, transactions: 4 }),
        single("ten rows in one statement, each", ordinary, { rows: 10, transactions: 10 }),
        single("a thousand rows in one statement, each", ordinary, { rows: 1000, transactions: 2 }),
        single("5 columns", narrow),
        single("60 columns", wide),
        single("two columns masked", redacted)
      ]
    : [])
].filter(({ name }) => only.test(name))

/** The messages of some transactions; every call takes rows of its own. */
const messages = (each: Case, op: Op, { context, end }: Contestant, first: number, count: number): Array<string> => {
  if (each.inside) return [`call ${each.table.name}_${op}(${first}, ${count})`]
  return Array.from({ length: count }, (_, transaction) => [
    "begin",
    ...(context === undefined ? [] : [context]),
    ...Array.from({ length: each.statements }, (_, statement) =>
      write(each.table, op, String(first + (transaction * each.statements + statement) * each.rows), each.rows)
    ),
    ...(end === undefined ? [] : [end]),
    "commit"
  ]).flat()
}

/** Inserts before deletes: these take away what those brought. */
const phasesOf = (contestant: Contestant): ReadonlyArray<Phase> => {
  const warm = 8
  return cases.flatMap((each) => {
    const setUp = each.inside ? procedures(each.table, contestant.context).split(/(?<=\$\$;)\s*/) : []
    const span = each.rows * each.statements
    return ops.map((op, index) => ({
      warm: [...(index === 0 ? setUp.filter((text) => text !== "") : []), ...messages(each, op, contestant, 1, warm)],
      counted: messages(each, op, contestant, 1 + warm * span, each.transactions)
    }))
  })
}

const query = (url: string, ...statements: ReadonlyArray<string>): Promise<void> =>
  (async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      for (const statement of statements) await client.query(statement)
    } finally {
      await client.end()
    }
  })()

/** The sources of another version, with a program that installs it. */
const checkout = (commit: string): string => {
  const directory = mkdtempSync(join(tmpdir(), "threadline-before-"))
  const archive = execFileSync("git", ["archive", commit, "src", "migrations", "package.json", "tsconfig.base.json"], {
    maxBuffer: 256 * 1024 * 1024
  })
  execFileSync("tar", ["-x", "-C", directory], { input: archive })
  mkdirSync(join(directory, "bench"))
  cpSync("bench/install.ts", join(directory, "bench/install.ts"))
  symlinkSync(join(process.cwd(), "node_modules"), join(directory, "node_modules"))
  return directory
}

/** Some history, so that no plan is made for empty tables; each contestant then has a session that knows nothing yet. */
const history = (contestant: Contestant): ReadonlyArray<string> =>
  tables.flatMap((table) => [
    procedures(table, contestant.context),
    ...ops.map((op) => `call ${table.name}_${op}(900000, ${table.name === "wide" ? 200 : 500})`)
  ])

const prepare = async (urlOf: (database: string) => string, contestants: ReadonlyArray<Contestant>): Promise<void> => {
  const sources = before === undefined ? undefined : checkout(before)
  try {
    for (const database of new Set(contestants.map((contestant) => contestant.database))) {
      const url = urlOf(database)
      await query(urlOf("postgres"), `create database ${database}`)
      await query(url, tables.map(create).join("\n"), installing(database))
      if (database === "ours" || database === "before") {
        execFileSync(process.execPath, ["--import", "tsx", "bench/install.ts", url, configuration()], {
          cwd: database === "before" ? sources : process.cwd(),
          stdio: ["ignore", "ignore", "inherit"]
        })
      }
      const last = contestants.filter((contestant) => contestant.database === database).at(-1)
      await query(url, ...(last === undefined ? [] : history(last)), "vacuum freeze analyze")
    }
  } finally {
    if (sources !== undefined) rmSync(sources, { recursive: true })
  }
}

interface Row {
  readonly name: string
  readonly op: Op
  /** Instructions a transaction, statement or row, by contestant; all but those of "none" are what is added to it. */
  readonly counts: Readonly<Record<string, number>>
}

const bench = Effect.gen(function* () {
  const cluster = yield* TestCluster.make()
  const contestants = contestantsOf(before !== undefined).filter(({ name }) => name === "none" || of.test(name))
  yield* Effect.promise(() => prepare(cluster.urlOf, contestants))
  yield* cluster.stop()
  const counted = new Map<string, ReadonlyArray<number>>()
  for (const contestant of contestants) {
    if (!json) process.stderr.write(`counting: ${contestant.name}\n`)
    const place = { ...cluster, directory: join(cluster.dataDirectory, "..", "callgrind") }
    counted.set(
      contestant.name,
      yield* Effect.promise(() => countInstructions(place, contestant.database, phasesOf(contestant)))
    )
  }
  const rows = cases.flatMap((each, at) =>
    ops.map((op, index): Row => {
      const of = (name: string): number =>
        (counted.get(name)?.[at * ops.length + index] ?? Number.NaN) / (each.transactions * each.statements * each.rows)
      return {
        name: each.name,
        op,
        counts: Object.fromEntries(
          contestants.map(({ name }) => [name, Math.round(of(name) - (name === "none" ? 0 : of("none")))])
        )
      }
    })
  )
  return { server: cluster.major, contestants: contestants.map(({ name }) => name), rows }
})

type Result = Effect.Effect.Success<typeof bench>

const print = ({ contestants, rows, server }: Result): string => {
  const wide = Math.max(...rows.map(({ name }) => name.length)) + 8
  const cell = (text: string) => text.padStart(Math.max(16, text.length + 1))
  return [
    `PostgreSQL ${server}; thousands of instructions; all but "none" are added to it; in brackets of "generic, actor"`,
    "",
    `${"".padEnd(wide)}${contestants.map(cell).join("")}`,
    ...rows.map(({ counts, name, op }) => {
      const of = (contestant: string) => counts[contestant] ?? Number.NaN
      const cells = contestants.map((contestant) => {
        const thousands = (of(contestant) / 1000).toFixed(of(contestant) < 20_000 ? 1 : 0)
        return cell(
          contestant === "none" ? thousands : `${thousands} (${(of(contestant) / of("generic, actor")).toFixed(2)})`
        )
      })
      return `${`${name}: ${op}`.padEnd(wide)}${cells.join("")}`
    })
  ].join("\n")
}

const valgrind = valgrindVersion()
if (valgrind === undefined) {
  console.log("skipped: valgrind is not installed, and nothing else here counts the instructions of a backend")
} else {
  const result = await Effect.runPromise(Effect.scoped(bench))
  console.log(json ? JSON.stringify({ valgrind, ...result }, null, 2) : print(result))
}
