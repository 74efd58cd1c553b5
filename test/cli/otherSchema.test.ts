/** Threadline may have another name than `threadline`. Every command then works under that name, and says it if it is not given. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leaves } from "../../cli/tree.js"
import * as Cli from "../support/cli.js"
import { emptyDatabase } from "../support/emptyDatabase.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

/** What a command needs to get as far as the database. */
const needed: Readonly<Record<string, ReadonlyArray<string>>> = {
  "capture apply": ["--table=posts"],
  "capture plan": ["--table=posts"],
  "capture print": ["--table=posts"],
  "capture remove": ["--table=posts"],
  "continuity baseline": ["--table=posts"],
  "evidence proof": ["--from=2026-01-01", "--to=2026-01-02", "--output=proof.json"],
  "evidence record": ["--ref=r", "--derive"],
  export: ["--format=csv"],
  "export download": ["--output=f", "--directory=exports"],
  "export expire": ["--directory=exports"],
  "export queue": ["--format=csv"],
  "export run": ["--once", "--directory=exports"],
  "export schedule add": ["--cron=0 3 * * *", "--window=previous-day", "--format=csv"],
  grant: ["--reader=pg_monitor"],
  "migrate generate": ["--output=sql"],
  "retention purge": ["--yes"],
  "views save": ["--owner=user:1", "--table=posts"]
}

/** These use no database, or go on until they are ended. */
const excepted = new Set(["completions", "demo", "export verify", "init", "migrate generate", "serve"])

const calls = leaves
  .filter((leaf) => !excepted.has(leaf.path.join(" ")))
  .map((leaf) => [
    ...leaf.path,
    ...leaf.arguments.map((argument) => Cli.argumentOf(argument.name)),
    ...(needed[leaf.path.join(" ")] ?? [])
  ])

/** A database that has Threadline under the name `audit` alone, and captures `posts` there. */
const elsewhere = Effect.gen(function* () {
  const { ownerRole, query, url } = yield* emptyDatabase
  yield* query("create table posts (id int primary key)")
  yield* Cli.text(["migrate", "up", "--schema", "audit", "--owner-role", ownerRole], { url })
  yield* Cli.text(["capture", "apply", "--table", "posts", "--schema", "audit"], { url })
  yield* query("insert into posts values (1)")
  return { query, url }
})

describe("a Threadline in another schema", () => {
  it.scoped(
    "is used by every command that is given its name, as an option, in the configuration or in the environment",
    () =>
      Effect.gen(function* () {
        const { query, url } = yield* elsewhere
        const cwd = yield* scratch({ "exports/.keep": "" })
        const configured = yield* scratch({ "threadline.config.json": `{ "schema": "audit" }` })
        const few = [["timeline"], ["capture", "status"], ["feed"]]
        const ways: ReadonlyArray<readonly [typeof calls, ReadonlyArray<string>, Cli.RunOptions]> = [
          [calls, ["--schema", "audit"], { url, cwd }],
          [few, [], { url, cwd: configured }],
          [few, [], { url, cwd, env: { THREADLINE_SCHEMA: "audit" } }]
        ]
        expect(calls.length).toBeGreaterThan(45)
        for (const [asked, given, options] of ways) {
          // One after another: some of them change what others find.
          const outcomes = yield* Effect.forEach(asked, (words) =>
            Effect.map(
              Cli.run([...words, ...given], options),
              ({ code, stderr }) => [words.join(" "), code, stderr] as const
            )
          )
          expect(
            outcomes.filter(([, code, stderr]) => code === 2 || code === 3 || stderr.includes("installed"))
          ).toEqual([])
          const { items } = yield* Cli.json(["timeline", ...given], options)
          expect(items).toHaveLength(1)
          yield* Cli.text(["capture", "apply", "--table", "posts", ...given], options)
        }
        expect(yield* query("select from pg_namespace where nspname = 'threadline'")).toEqual([])
      })
  )

  it.scoped("is named to a command that is given another name", () =>
    Effect.gen(function* () {
      const { query, url } = yield* elsewhere
      const said = "Threadline is not installed here as threadline, but as audit: name that schema, with --schema"
      for (const words of [["timeline"], ["capture", "apply", "--table", "posts"], ["health"], ["feed"]]) {
        expect(yield* Cli.run(words, { url })).toEqual(Cli.refusal(3, new RegExp(said)))
      }
      // A second installation is allowed. It does not take the triggers of the first for those of a host.
      yield* Cli.text(["migrate", "up"], { url })
      expect(yield* Cli.run(["capture", "apply", "--table", "posts"], { url })).toEqual(
        Cli.refusal(1, /has triggers that this Threadline did not make: .*if Threadline in another schema made them/)
      )
      expect(yield* query("select from audit.audit_changes")).toHaveLength(1)
    })
  )
})
