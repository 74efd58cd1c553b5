import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { commands, groups } from "../../cli/commands.js"
import * as Config from "../../cli/config.js"
import { print, printSource, visible } from "../../cli/output.js"
import * as Table from "../../cli/table.js"
import packageJson from "../../package.json" with { type: "json" }
import { serverUrl } from "../harness/TestDatabase.js"
import * as Cli from "../support/cli.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

const tidy = (text: string) => {
  expect(text).not.toContain("\u001b")
  for (const line of text.split("\n")) {
    expect(line.length, line).toBeLessThanOrEqual(80)
  }
}

describe("the command line", () => {
  it.effect("says its version", () =>
    Effect.gen(function* () {
      for (const args of [["--version"], ["migrate", "up", "--version"]]) {
        expect(yield* Cli.run(args)).toEqual({ code: 0, stdout: `${packageJson.version}\n`, stderr: "" })
      }
    })
  )

  it.effect("shows its commands without an argument and with --help, and those of a group", () =>
    Effect.gen(function* () {
      const overview = yield* Cli.text([])
      expect(yield* Cli.text(["--help"])).toBe(overview)
      expect(yield* Cli.text(["-h"])).toBe(overview)
      tidy(overview)
      for (const name of Object.keys(commands)) {
        expect(overview).toContain(`\n  ${name.split(" ")[0]} `)
      }
      for (const group of Object.keys(groups)) {
        const help = yield* Cli.text([group, "--help"])
        tidy(help)
        expect(help).toContain(`threadline ${group} COMMAND`)
      }
    })
  )

  it.effect("shows the options of every command, in 80 columns and without colours", () =>
    Effect.gen(function* () {
      const helps = yield* Effect.forEach(
        Object.entries(commands),
        ([name, summary]) => Effect.map(Cli.text([...name.split(" "), "--help"]), (help) => ({ name, summary, help })),
        { concurrency: 4 }
      )
      for (const { help, name, summary } of helps) {
        tidy(help)
        expect(help.startsWith(`${summary}\n\nUsage\n  threadline ${name} `)).toBe(true)
        for (const option of ["--url URL", "--config FILE", "--schema NAME", "--json"]) {
          expect(help).toContain(`\n  ${option} `)
        }
        expect(help).not.toContain("user-defined")
        expect(help.includes("] [OPTIONS]"), name).toBe(name === "actor")
      }
      const ofActor = helps.find(({ name }) => name === "actor")?.help
      expect(ofActor).toContain("threadline actor <TYPE> [ID] [OPTIONS]\n")
      expect(ofActor).toContain("\n  [ID]    Id of the actor; default: every actor of the type.\n")
    })
  )

  const wrong: ReadonlyArray<readonly [args: ReadonlyArray<string>, sentence: RegExp]> = [
    [["nope"], /there is no command nope; there are init, migrate/],
    [["migrate"], /migrate needs a command; there is up, status, print or generate/],
    [["migrate", "nope"], /there is no command migrate nope; there is up, status, print or generate/],
    [["--json"], /name a command: init, migrate/],
    [["timeline", "--nope"], /there is no option --nope/],
    [["timeline", "-x"], /there is no option -x/],
    [["timeline", "--limit"], /the option --limit needs a value/],
    [["timeline", "--limit="], /the option --limit needs a value/],
    [["timeline", "--table", "--json"], /the option --table needs a value/],
    [["timeline", "--json=perhaps"], /the option --json takes no value/],
    [["timeline", "--writer", "app"], /--writer/],
    [["timeline", "--limit", "5", "--limit", "6"], /./],
    [["timeline", "posts"], /posts/],
    [["timeline", "--limit", "many"], /--limit is a whole number/],
    [["timeline", "--order", "upwards"], /--order is one of newest, oldest/],
    [["timeline", "--op", "merge"], /--op is one of insert, update, delete, truncate, baseline/],
    [["timeline", "--actor", "robot:1"], /--actor is one of user, admin/],
    [["history", "posts"], /KEY/],
    [["history", "posts", "1", "2"], /2/],
    [["as-of", "posts", "1"], /INSTANT/],
    [["transaction"], /ID/],
    [["timeline", "--limit", "1", "--limit", "2"], /--limit .* given twice/],
    [["capture", "plan", "--limit", "3"], /--limit does not belong to this command/],
    [["migrate", "print", "--to", "0"], /--to is a whole number from 1 to \d+/],
    [["migrate", "up", "--to", "0"], /--to is a whole number from 1 to \d+/],
    [["migrate", "print", "--from", "99"], /--from is a whole number from 1 to \d+/],
    [["migrate", "print", "--from", "2", "--to", "1"], /from: comes after the last migration/],
    [["migrate", "print", "--schema", "pg_audit"], /schema: must not be a reserved name/],
    [["migrate", "up", "--schema", "pg_audit"], /schema: must not be a reserved name/],
    [["migrate", "up", "--owner-role", "pg_monitor"], /ownerRole: must not be a reserved name/],
    [["migrate", "status", "--schema", "pg_audit"], /schema: must not be a reserved name/],
    [["grant", "--reader", "public"], /public is no role but everybody/],
    [["init", "--config", "threadline.txt"], /ends in .ts or .js/],
    [["grant"], /no role is named: give --writer, --reader or --operator/],
    [["grant", "--print", "--writer", "r".repeat(64)], /writer: a role has a name of 1 to 63 bytes/],
    [["capture", "plan"], /no table is named: give --table, or name tables in threadline.config.ts/],
    [["capture", "remove"], /no table is named: give --table/],
    [["capture", "plan", "--table", "a.b.c"], /--table: must be a table/],
    [["capture", "remove", "--table", "a.b.c"], /--table: must be a table/],
    [["capture", "plan", "--table", "posts", "--table", "public.posts"], /--table: names public.posts twice/],
    [["capture", "apply", "--table", "posts", "--lock-timeout", "0"], /--lock-timeout is a whole number from 1/],
    [
      ["capture", "plan", "--table", "posts", "--mask", "posts.a", "--exclude", "public.posts.a"],
      /--mask: names public.posts.a, which --exclude leaves out/
    ],
    [["capture", "plan", "--table", "posts", "--mask", "title"], /--mask: must be a column with its table/],
    [["capture", "plan", "--table", "posts", "--mask", "users.title"], /--mask: is about public.users/],
    [["capture", "plan", "--exclude", "users.title"], /--exclude: is about public.users/]
  ]

  it.effect("refuses wrong use in one sentence and with code 2", () =>
    Cli.checkEach(wrong, ([args, sentence]) =>
      Effect.map(Cli.run(args, { url: Cli.nowhere }), (outcome) =>
        expect(outcome, args.join(" ")).toEqual(Cli.refusal(2, sentence))
      )
    )
  )
})

describe("the database of a command", () => {
  it.effect("has to be named", () =>
    Effect.gen(function* () {
      expect(yield* Cli.run(["migrate", "status"])).toEqual(
        Cli.refusal(2, /no database is named: give --url, or set THREADLINE_DATABASE_URL or DATABASE_URL/)
      )
    })
  )

  it.effect("has to be a URL of PostgreSQL, and a wrong one is not repeated", () =>
    Effect.gen(function* () {
      for (const url of ["mysql://root:s3cret@127.0.0.1/x", "s3cret", "postgres://app:s3cret@127.0.0.1:port/x"]) {
        const byOption = yield* Cli.run(["migrate", "status", "--url", url])
        expect(byOption).toEqual(Cli.refusal(2, /--url is not the URL of a PostgreSQL database/))
        expect(byOption.stderr).not.toContain("s3cret")
        const byVariable = yield* Cli.run(["migrate", "status"], { url })
        expect(byVariable).toEqual(Cli.refusal(2, /DATABASE_URL is not the URL of a PostgreSQL database/))
        expect(byVariable.stderr).not.toContain("s3cret")
      }
    })
  )

  it.effect("is --url before THREADLINE_DATABASE_URL before DATABASE_URL", () =>
    Effect.gen(function* () {
      const url = serverUrl
      const status = ["migrate", "status"]
      expect((yield* Cli.run([...status, "--url", url], { url: Cli.nowhere })).code).toBe(0)
      expect((yield* Cli.run(status, { url: Cli.nowhere, env: { THREADLINE_DATABASE_URL: url } })).code).toBe(0)
      expect((yield* Cli.run(status, { url: Cli.nowhere, env: { THREADLINE_DATABASE_URL: "" } })).code).toBe(3)
      expect((yield* Cli.run(status, { url })).code).toBe(0)
    })
  )

  it.effect("is that of PGHOST and its like where no URL is given", () =>
    Effect.gen(function* () {
      const server = new URL(serverUrl)
      const env = {
        PGHOST: server.searchParams.get("host") ?? server.hostname,
        PGPORT: server.port,
        PGUSER: decodeURIComponent(server.username),
        PGDATABASE: server.pathname.slice(1),
        ...(server.password === "" ? {} : { PGPASSWORD: decodeURIComponent(server.password) })
      }
      const status = ["migrate", "status"]
      expect((yield* Cli.run(status, { env })).code).toBe(0)
      expect((yield* Cli.run(status, { env, url: Cli.nowhere })).code).toBe(3)
      expect(yield* Cli.run(status, { env: { ...env, PGDATABASE: "not_there_at_all" } })).toEqual(
        Cli.refusal(3, /not_there_at_all/)
      )
      for (const port of ["no", "0", "70000", "-1", "5432.5"]) {
        expect(yield* Cli.run(status, { env: { ...env, PGPORT: port } })).toEqual(
          Cli.refusal(2, "PGPORT is a port from 1 to 65535")
        )
      }
      // A password alone says of no database which it is.
      expect(yield* Cli.run(status, { env: { PGPASSWORD: "s3cret" } })).toEqual(
        Cli.refusal(2, /no database is named: .* or PGHOST, PGPORT, PGUSER, PGDATABASE/)
      )
    })
  )

  const commandsThatAsk: ReadonlyArray<ReadonlyArray<string>> = [
    ["migrate", "up"],
    ["migrate", "status"],
    ["migrate", "print", "--pending"],
    ["grant", "--writer", "app"],
    ["capture", "plan", "--table", "posts"],
    ["capture", "apply", "--table", "posts"],
    ["capture", "remove", "--table", "posts"],
    ["capture", "status"],
    ["capture", "print", "--table", "posts"],
    ["timeline"],
    ["history", "posts", "1"],
    ["as-of", "posts", "1", "2026-01-01"],
    ["transaction", "1"]
  ]

  it.effect("may be out of reach: one sentence, no password", () =>
    Cli.checkEach(
      commandsThatAsk.flatMap((args) => [args, [...args, "--json"]]),
      (args) =>
        Effect.map(Cli.run(args, { url: Cli.nowhere }), (outcome) => {
          expect(outcome, args.join(" ")).toEqual(Cli.refusal(3, /the database cannot be reached/))
          expect(outcome.stderr).not.toContain("s3cret")
        })
    )
  )

  it.effect("may refuse the user, or not be there", () =>
    Effect.gen(function* () {
      const url = new URL(serverUrl)
      url.pathname = "/not_there_at_all"
      expect(yield* Cli.run(["timeline"], { url: url.href })).toEqual(Cli.refusal(3, /not_there_at_all/))
      url.username = "not_a_user_at_all"
      url.password = "s3cret"
      const refused = yield* Cli.run(["timeline"], { url: url.href })
      expect(refused).toEqual(Cli.refusal(3, /./))
      expect(refused.stderr).not.toContain("s3cret")
    })
  )
})

describe("the configuration of a command", () => {
  const valid = { tables: { "public.users": { exclude: ["password"], mask: ["email"] } } }
  const plan = ["capture", "plan"]

  for (const [name, content] of [
    ["threadline.config.json", JSON.stringify(valid)],
    ["threadline.config.js", `export default ${JSON.stringify(valid)}`],
    ["threadline.config.ts", `const given: unknown = ${JSON.stringify(valid)}\nexport default given`]
  ] as const) {
    it.scoped(`is ${name} in the working directory or above it, or what --config names`, () =>
      Effect.gen(function* () {
        const above = yield* scratch({ [name]: content, "a/b/nothing": "" })
        const elsewhere = yield* scratch()
        // Loaded and understood: what is left to complain about is the database.
        const understood = Cli.refusal(3, /cannot be reached/)
        expect(yield* Cli.run(plan, { url: Cli.nowhere, cwd: above })).toEqual(understood)
        expect(yield* Cli.run(plan, { url: Cli.nowhere, cwd: join(above, "a/b") })).toEqual(understood)
        const named = [...plan, "--config", join(above, name)]
        expect(yield* Cli.run(named, { url: Cli.nowhere, cwd: elsewhere })).toEqual(understood)
        expect(yield* Cli.run(plan, { url: Cli.nowhere, cwd: elsewhere })).toEqual(Cli.refusal(2, /no table is named/))
      })
    )
  }

  for (const [what, content, sentence] of [
    ["no object", "export default 3", /threadline.config.ts: holds no configuration/],
    ["a function", "export default () => ({})", /threadline.config.ts: holds no configuration/],
    ["nothing", "export const other = 1", /threadline.config.ts: holds no configuration/],
    ["names without options", `export default { tables: ["posts"] }`, /tables.0: must be an object such as /],
    ["a table twice", `export default { tables: { posts: {}, "public.posts": {} } }`, /names public.posts twice/],
    ["what is no table", `export default { tables: { "a.b.c": {} } }`, /tables: "a.b.c" must be /],
    [
      "a column under two redactions",
      `export default { tables: { posts: { mask: ["a", "b"], exclude: ["b"] } } }`,
      /public.posts excludes and masks b/
    ],
    ["a misspelt field", "export default { table: {} }", /threadline.config.ts: table: is not known here/],
    [
      "a misspelt field of a table",
      `export default { tables: { "public.users": { excludes: ["password"] } } }`,
      /tables\["public.users"\].excludes: is not known here/
    ],
    ["a field of another type", `export default { tables: [{ table: "users", mask: "email" }] }`, /tables.0.mask: /],
    ["a list without a name", `export default { tables: [{ mask: ["email"] }] }`, /tables.0.table: is missing/],
    ["a schema without a name", `export default { schema: "" }`, /threadline.config.ts: schema: /],
    ["text that is no program", "export default {", /threadline.config.ts cannot be loaded: /],
    ["an error", `throw new Error("boom\\nbang")`, /threadline.config.ts cannot be loaded: boom bang/]
  ] as const) {
    it.scoped(`is refused with ${what}`, () =>
      Effect.gen(function* () {
        const cwd = yield* scratch({ "threadline.config.ts": content })
        expect(yield* Cli.run(plan, { url: Cli.nowhere, cwd })).toEqual(Cli.refusal(2, sentence))
      })
    )
  }

  it.scoped("is refused where the file named is not there", () =>
    Effect.gen(function* () {
      const named = [...plan, "--config", "nowhere.ts"]
      expect(yield* Cli.run(named, { url: Cli.nowhere })).toEqual(Cli.refusal(2, "there is no file nowhere.ts"))
    })
  )

  it.scoped("names the schema", () =>
    Effect.gen(function* () {
      const cwd = yield* scratch({
        "threadline.config.json": `{ "schema": "audit", "ownerRole": "audit_owner" }`
      })
      const printed = yield* Cli.text(["migrate", "print"], { cwd })
      expect(printed).toContain("target constant name := 'audit'")
      expect(printed).toContain("wanted constant name := 'audit_owner'")
      const env = { THREADLINE_SCHEMA: "elsewhere" }
      expect(yield* Cli.text(["migrate", "print"], { cwd, env })).toBe(printed)
      expect(yield* Cli.text(["migrate", "print"], { env })).toContain("target constant name := 'elsewhere'")
      const other = yield* Cli.text(["migrate", "print", "--schema", "other"], { cwd })
      expect(other).toContain("target constant name := 'other'")
    })
  )

  it("takes tables as a list or by name", () => {
    const list = Config.check({ tables: [{ table: "posts", truncate: "rows" }] })
    const byName = Config.check({ tables: { posts: { truncate: "rows" } } })
    expect(byName).toEqual(list)
    expect(Either.map(list, ({ tables }) => tables)).toEqual(Either.right([{ table: "posts", truncate: "rows" }]))
  })
})

describe("threadline init", () => {
  it.scoped("writes a configuration that loads, once", () =>
    Effect.gen(function* () {
      const cwd = yield* scratch()
      const output = yield* Cli.text(["init"], { cwd })
      expect(output).toContain("Wrote threadline.config.ts.")
      expect(output).toContain("threadline migrate up")
      const written = readFileSync(join(cwd, "threadline.config.ts"), "utf8")
      expect(yield* Cli.run(["init"], { cwd })).toEqual(Cli.refusal(1, "threadline.config.ts exists already"))
      expect(readFileSync(join(cwd, "threadline.config.ts"), "utf8")).toBe(written)
      expect(yield* Cli.run(["capture", "plan"], { cwd, url: Cli.nowhere })).toEqual(
        Cli.refusal(3, /cannot be reached/)
      )
    })
  )

  it.scoped("does not write beside another configuration, and says in JSON what it wrote", () =>
    Effect.gen(function* () {
      const cwd = yield* scratch({ "threadline.config.json": "{}" })
      expect(yield* Cli.run(["init"], { cwd })).toEqual(Cli.refusal(1, "threadline.config.json exists already"))
      expect(yield* Cli.json(["init", "--config", "audit.ts"], { cwd })).toMatchObject({ file: "audit.ts" })
      expect(existsSync(join(cwd, "audit.ts"))).toBe(true)
    })
  )
})

describe("text for people", () => {
  const longest = (text: string) => Math.max(...text.split("\n").map((line) => line.length))

  /** Where it goes to, and the width that it has there. */
  const places: ReadonlyArray<
    readonly [place: string, options: Cli.RunOptions, args: ReadonlyArray<string>, width: number]
  > = [
    ["a pipe", { env: { COLUMNS: "" } }, [], Infinity],
    ["a pipe, with COLUMNS", { env: { COLUMNS: "60" } }, [], 60],
    ["a pipe, with COLUMNS that is no number", { env: { COLUMNS: "wide" } }, [], Infinity],
    ["a terminal", { env: { COLUMNS: "" }, terminal: 70 }, [], 70],
    ["a terminal, with COLUMNS", { env: { COLUMNS: "90" }, terminal: 70 }, [], 90],
    ["a terminal, with --wide", { env: { COLUMNS: "90" }, terminal: 70 }, ["--wide"], Infinity],
    ["a very narrow terminal", { env: { COLUMNS: "" }, terminal: 5 }, [], 40]
  ]

  for (const [place, options, args, width] of places) {
    it.effect(`is ${width === Infinity ? "not cut" : `cut to ${width} columns`} for ${place}`, () =>
      Effect.gen(function* () {
        const text = "long ".repeat(60)
        const shown = yield* Cli.within(
          options,
          print({ wide: args.includes("--wide") }, (columns) => Table.clip(text, columns))
        )
        expect(longest(shown.stdout)).toBe(Math.min(width, text.length))
      })
    )
  }

  it.effect("has styles on a terminal, and nowhere else nor with NO_COLOR or TERM=dumb", () =>
    Effect.gen(function* () {
      const styled = "\u001b[1mUsage\u001b[22m"
      expect(yield* Cli.text(["--help"], { terminal: 80 })).toContain(styled)
      for (const options of [{}, { terminal: 80, env: { NO_COLOR: "1" } }, { terminal: 80, env: { TERM: "dumb" } }]) {
        const help = yield* Cli.text(["--help"], options)
        expect(help).toContain("\nUsage\n")
        expect(help).not.toContain("\u001b")
      }
      expect(yield* Cli.text(["--help"], { terminal: 80, env: { NO_COLOR: "", TERM: "xterm" } })).toContain(styled)
    })
  )

  it.effect("keeps its styles to itself: those of a value are written out", () =>
    Effect.gen(function* () {
      const hostile = "a\u001b[1mb\ufdd0c"
      const { stdout } = yield* Cli.within(
        { terminal: 80 },
        print({ wide: true }, () => visible(hostile))
      )
      expect(stdout).toBe(String.raw`a\u{1b}[1mb\u{fdd0}c` + "\n")
    })
  )

  it.effect("shows SQL as it is, and made visible only on a terminal", () =>
    Effect.gen(function* () {
      const sql = "select 'a\tb\u202e'\n;\n"
      expect((yield* Cli.within({}, printSource(sql))).stdout).toBe(sql)
      expect((yield* Cli.within({ terminal: 80 }, printSource(sql))).stdout).toBe(
        String.raw`select 'a\tb\u{202e}'` + "\n;\n"
      )
    })
  )
})

describe("a printed table", () => {
  const columns = [{ header: "id", rigid: true }, { header: "text" }, { header: "more" }]

  it("fits the terminal, and escapes what would act on it", () => {
    const hostile = `\u001b[2J\u0007a\nb\t\u202etxt\u0000`
    const lines = Table.layout(columns, [["1", hostile, "x".repeat(200)]], 80).split("\n")
    expect(lines).toHaveLength(2)
    expect(lines[1]).toContain(String.raw`\u{1b}[2J\u{7}a\nb\t\u{202e}txt\u{0}`)
    expect(lines[1]).toMatch(/x…$/)
    expect(lines.every((line) => Table.textWidth(line) <= 80)).toBe(true)
  })

  it("counts wide and combining characters as the terminal shows them", () => {
    expect(Table.textWidth("日本")).toBe(4)
    expect(Table.textWidth("e\u0301")).toBe(1)
    expect(Table.clip("日本語", 5)).toBe("日本…")
    const [, first, second] = Table.layout(
      columns,
      [
        ["1", "日本", "x"],
        ["2", "abcd", "y"]
      ],
      80
    ).split("\n")
    expect(first).toBe("1   日本  x")
    expect(second).toBe("2   abcd  y")
  })

  it("shows two long texts from shortly before they differ", () => {
    const long = "x".repeat(100)
    for (const [before, after, shown] of [
      ["abc", "abd", ["abc", "abd"]],
      ["abc", `abd${long}`, ["abc", `abd${"x".repeat(26)}…`]],
      [
        `${long}old${long}`,
        `${long}new${long}`,
        [`…${"x".repeat(10)}old${"x".repeat(15)}…`, `…${"x".repeat(10)}new${"x".repeat(15)}…`]
      ],
      [long, `${long}!`, [`…${"x".repeat(10)}`, `…${"x".repeat(10)}!`]],
      [`${"日".repeat(50)}a`, `${"日".repeat(50)}b`, [`…${"日".repeat(5)}a`, `…${"日".repeat(5)}b`]],
      ["", long, ["", `${"x".repeat(29)}…`]]
    ] as const) {
      expect(Table.clipPair(before, after, 30)).toEqual(shown)
    }
  })

  it("leaves ordinary text alone", () => {
    expect(visible("Grüße, 日本 'x' \\n 🎉")).toBe("Grüße, 日本 'x' \\n 🎉")
  })
})
