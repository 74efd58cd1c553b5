import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Capture from "../../src/Capture.js"
import * as Cli from "../support/cli.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

interface Case {
  readonly title: string
  readonly setup: string
  /** Options of the first apply. */
  readonly options?: ReadonlyArray<string>
  readonly change: string
  /** The findings whose mend is a command, and the words that one of these commands has. */
  readonly kinds: ReadonlyArray<Capture.FindingKind>
  readonly words?: ReadonlyArray<string>
}

const table = "create table m (id int primary key, v text, secret text)"

const cases: ReadonlyArray<Case> = [
  {
    title: "a masked column that was renamed, beside an excluded one",
    setup: table,
    options: ["--exclude=m.v", "--mask=m.secret"],
    change: "alter table m rename secret to sec2",
    kinds: ["ColumnsChanged", "RedactedColumnMissing"],
    words: ["--exclude", "public.m.v", "--mask", "public.m.sec2"]
  },
  {
    title: "an excluded column that was renamed",
    setup: table,
    options: ["--exclude=m.v", "--mask=m.secret"],
    change: `alter table m rename v to "V 2"`,
    kinds: ["ColumnsChanged", "RedactedColumnMissing"],
    words: ["--exclude", `public.m."V 2"`]
  },
  {
    title: "redacted columns that exchanged their names",
    setup: table,
    options: ["--mask=m.secret"],
    change: "alter table m rename v to w; alter table m rename secret to v; alter table m rename w to secret",
    kinds: ["ColumnsChanged", "RedactedColumnMissing"],
    words: ["--mask", "public.m.v"]
  },
  {
    title: "a masked column that was dropped",
    setup: table,
    options: ["--mask=m.secret"],
    change: "alter table m drop secret",
    kinds: ["ColumnsChanged", "RedactedColumnMissing"]
  },
  {
    title: "a column of a declared key that was renamed",
    setup: "create table m (id int not null, v text); create unique index on m (id)",
    options: ["--key=m.id"],
    change: "alter table m rename id to number",
    kinds: ["ColumnsChanged", "KeyChanged"],
    words: ["--key", "public.m.number"]
  },
  {
    title: "a primary key over other columns",
    setup: table,
    change: "alter table m drop constraint m_pkey; alter table m add tenant int not null, add primary key (tenant, id)",
    kinds: ["ColumnsChanged", "KeyChanged"]
  },
  { title: "a table that was dropped", setup: table, change: "drop table m", kinds: ["TableGone"] },
  {
    title: "triggers that were disabled",
    setup: table,
    change: "alter table m disable trigger user",
    kinds: ["TriggerDisabled"]
  },
  {
    title: "a table that was made anew",
    setup: table,
    options: ["--mask=m.secret"],
    change: `drop table m; ${table}`,
    kinds: ["TriggerMissing"]
  },
  {
    title: "a partition that was attached and one that was dropped",
    setup: `create table m (id int primary key, v text) partition by range (id);
      create table m_1 partition of m for values from (0) to (10)`,
    change: "create table m_2 partition of m for values from (10) to (20); drop table m_1",
    kinds: ["PartitionAttached", "PartitionDetached"]
  }
]

const decode = Schema.decodeUnknownSync(
  Schema.Struct({
    tables: Schema.Array(Schema.Struct({ findings: Schema.Array(Capture.Finding) }))
  })
)

const findingsOf = (url: string) =>
  Effect.map(Cli.json(["capture", "status"], { url }), (document) =>
    decode(document).tables.flatMap(({ findings }) => findings)
  )

describe("mends that capture status prints", () => {
  // By hand: the names of "each" are cut after 40 characters.
  for (const each of cases) {
    it.scoped(`run word for word, for ${each.title}`, () =>
      Effect.gen(function* () {
        const database = yield* TestDatabase.make()
        const raw = yield* database.rawClient()
        const query = (text: string) => Effect.promise(() => raw.query(text))
        const { url } = database
        yield* query(each.setup)
        yield* Cli.text(["capture", "apply", "--table=m", ...(each.options ?? [])], { url })
        yield* query(each.change)
        const reportedFindings = yield* findingsOf(url)
        const commands = reportedFindings.flatMap(({ kind, mend }) =>
          mend?._tag === "command" ? [{ kind, argv: mend.argv }] : []
        )
        expect(commands.map(({ kind }) => kind)).toEqual(expect.arrayContaining([...each.kinds]))
        expect(commands.flatMap(({ argv }) => argv)).toEqual(expect.arrayContaining([...(each.words ?? [])]))
        const distinct = [...new Set(commands.map(({ argv }) => JSON.stringify(argv)))]
        expect(distinct).toHaveLength(1)
        const [program, ...words] = commands[0]?.argv ?? []
        expect(program).toBe("threadline")
        yield* Cli.text(words, { url })
        const kindsAfter = (yield* findingsOf(url)).map(({ kind }) => kind)
        expect(kindsAfter.filter((kind) => commands.some((command) => command.kind === kind))).toEqual([])
      })
    )
  }

  it.scoped("name no table for a command that takes none", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.make()
      const raw = yield* database.rawClient()
      const { url } = database
      yield* Effect.promise(() => raw.query(table))
      yield* Cli.text(["capture", "apply", "--table=m"], { url })
      yield* Effect.promise(() => raw.query("grant insert on threadline.audit_changes to public"))
      const asked = ["capture", "status", "--table=m", "--exclude=m.v"]
      expect(yield* Cli.text(asked, { url })).toContain("fix: threadline migrate up\n")
      yield* Cli.text(["migrate", "up"], { url })
      expect(yield* Cli.text(asked, { url })).not.toContain("migrate up")
    })
  )

  it.scoped("name the configuration that was given", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.make()
      const raw = yield* database.rawClient()
      yield* Effect.promise(() => raw.query(table))
      const { url } = database
      const cwd = yield* scratch({ "odd.json": JSON.stringify({ tables: [{ table: "m", truncate: "rows" }] }) })
      const planned = yield* Cli.text(
        ["capture", "plan", "--config", "odd.json", "--schema", "threadline", "--url", url],
        { cwd, env: { COLUMNS: "200" } }
      )
      expect(planned).toContain(`"threadline capture apply --config odd.json --schema threadline" does it`)
      expect(planned).not.toContain(url)
      const status = yield* Cli.text(["capture", "status", "--config", "odd.json"], { url, cwd })
      expect(status).toContain("fix: threadline capture apply --config odd.json\n")
    })
  )
})
