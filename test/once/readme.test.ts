/**
 * Does what README.md says, word for word: its commands, statements and programs, in an empty directory, with the package as it
 * would be published. Only the names of roles are this run's own, and the package comes from here rather than from a registry.
 */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { promisify } from "node:util"
import { blocksOf, fileOf, readme, sectionOf } from "../../scripts/readme.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import * as Cli from "../support/cli.js"
import { scratch } from "../support/scratch.js"

const root = join(import.meta.dirname, "..", "..")
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

const run = async (directory: string, program: string, args: ReadonlyArray<string>, url?: string): Promise<string> => {
  const { CI: _ci, THREADLINE_DATABASE_URL: _url, ...environment } = process.env
  const { stdout } = await promisify(execFile)(program, [...args], {
    cwd: directory,
    env: {
      ...environment,
      NO_COLOR: "1",
      PATH: `${join(directory, "node_modules", ".bin")}:${environment["PATH"] ?? ""}`,
      ...(url === undefined ? {} : { DATABASE_URL: url })
    },
    maxBuffer: 64 * 1024 * 1024
  }).catch((error: { readonly stdout: string; readonly stderr: string }) => {
    throw new Error(`${program} ${args.join(" ")}\n${error.stdout}${error.stderr}`)
  })
  return stdout
}

/** Builds the package in a directory of its own, so that nothing here changes. */
const build = async (directory: string): Promise<string> => {
  const copy = join(directory, "build")
  mkdirSync(copy)
  for (const name of [
    "src",
    "cli",
    "migrations",
    "docs",
    ...readdirSync(root).filter((name) => /^(?:package\.json|ts.*|[A-Z]+(?:\.md)?)$/.test(name))
  ]) {
    cpSync(join(root, name), join(copy, name), { recursive: true })
  }
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"))
  await run(copy, "npm", ["run", "--ignore-scripts", "build"])
  return copy
}

/** Packs what is built, or what `THREADLINE_TEST_DIST` says is built already, and unpacks it as a host has it. */
const install = async (directory: string): Promise<string> => {
  const host = join(directory, "host")
  const built = (process.env["THREADLINE_TEST_DIST"] ?? "") === "" ? await build(directory) : root
  const [packed] = JSON.parse(
    await run(built, "npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", directory])
  )

  const modules = join(host, "node_modules")
  const own = join(modules, "threadline")
  mkdirSync(modules, { recursive: true })
  mkdirSync(join(modules, ".bin"))
  mkdirSync(own)
  await run(own, "tar", ["-xzf", join(directory, packed.filename), "--strip-components=1"])
  symlinkSync(join("..", "threadline", manifest.bin.threadline), join(modules, ".bin", "threadline"))
  // What `npm install` brings along: peers, dependencies, and the driver.
  for (const name of [...Object.keys(manifest.peerDependencies), ...Object.keys(manifest.dependencies), "pg"]) {
    mkdirSync(dirname(join(modules, name)), { recursive: true })
    symlinkSync(join(root, "node_modules", name), join(modules, name))
  }
  return host
}

/** A directory with the package installed, and a database of a role that owns it and is no superuser. */
const host = Effect.gen(function* () {
  const database = yield* TestDatabase.make({ schema: false })
  const { url, name } = yield* database.role("host")
  const admin = yield* database.rawClient()
  yield* Effect.promise(() =>
    admin.query(`grant create on database ${database.name} to ${name}; grant create on schema public to ${name}`)
  )
  const app = yield* database.role("app")
  const support = yield* database.role("support")
  const directory = yield* scratch()
  const client = yield* database.rawClient("host")
  const home = yield* Effect.promise(() => install(directory))

  return {
    url,
    home,
    /** Event triggers are for superusers. */
    becomeSuperuser: Effect.promise(() => admin.query(`alter role ${name} superuser`)),
    ask: (statement: string) =>
      Effect.map(
        Effect.promise(() => client.query(statement)),
        ({ rows }) => rows
      ),
    /** Runs the blocks of a text, all or those of one language; what they printed, in order. */
    follow: (markdown: string, only?: string) =>
      Effect.promise(async () => {
        const printed: Array<string> = []
        for (const block of blocksOf(markdown)) {
          const { language, text } = block
          if (only !== undefined && language !== only) {
            continue
          }
          const file = fileOf(block) ?? "program.mjs"
          if (language === "sql") {
            await client.query(text)
          } else if (language === "ts") {
            writeFileSync(join(home, file), text)
            printed.push(file === "program.mjs" ? await run(home, "node", [file], url) : "")
          } else if (language === "sh") {
            const script = text
              .replace(/^npm install .*\n/m, "")
              .replaceAll(
                /(--writer|--reader) (\w+)/g,
                (_, option: string, role: string) => `${option} ${role === "app" ? app.name : support.name}`
              )
            printed.push(await run(home, "bash", ["-euo", "pipefail", "-c", script], url))
          }
        }
        return printed
      })
  }
})

const changes = `
  select c.op, c.data_after ->> 'title' as title, t.actor ->> 'id' as actor, t.correlation_id, a.name as action
  from threadline.audit_changes c
  join threadline.audit_transactions t on t.id = c.transaction_id
  left join threadline.audit_actions a on a.id = t.action_id
  order by c.id`

it.scopedLive(
  "the programs, statements and commands of README.md and docs do what they say",
  () =>
    Effect.gen(function* () {
      const { ask, becomeSuperuser, follow, home, url } = yield* host

      const quickstart = (yield* follow(sectionOf("Quickstart"))).join("")
      expect(quickstart).toContain("capture by statement triggers")
      expect(quickstart).toContain("user 42 (billing desk)")
      expect(quickstart).toContain(`title: "Ship audit logs"`)
      expect(quickstart).toMatch(/reason +launch/)
      const created = {
        op: "insert",
        title: "Ship audit logs",
        actor: "42",
        correlation_id: "req-9f2",
        action: "post.created"
      }
      expect(yield* ask(changes)).toEqual([created])

      yield* follow(sectionOf("Clients that are not Effect"))
      expect(yield* ask(changes)).toEqual([
        created,
        {
          op: "update",
          title: "Ship audit logs today",
          actor: "42",
          correlation_id: "req-9f3",
          action: "post.corrected"
        },
        { op: "update", title: "Ship audit logs now", actor: "42", correlation_id: "req-9f4", action: "post.corrected" }
      ])

      yield* follow(sectionOf("Exports"))

      const [granted = ""] = yield* follow(sectionOf("Roles"))
      expect(granted).toContain("may set context and record actions in threadline")
      const [rights] = yield* ask(`
        select
          bool_and(has_function_privilege(r.rolname, 'threadline.set_context(jsonb)', 'execute')) filter (where r.rolname ~ '_app$') as writes,
          bool_or(has_table_privilege(r.rolname, 'threadline.audit_changes', 'select')) filter (where r.rolname ~ '_app$') as writer_reads,
          bool_and(has_table_privilege(r.rolname, 'threadline.audit_changes', 'select')) filter (where r.rolname ~ '_support$') as reads
        from pg_roles r
        where starts_with(r.rolname, current_database())`)
      expect(rights).toEqual({ writes: true, writer_reads: false, reads: true })

      const examples = [...readme.matchAll(/ `(npx threadline [^`]*)` +\|$/gm)].map(([, example = ""]) => example)
      expect(examples.length).toBeGreaterThan(12)
      // The quickstart went through npx and the bundle, which take their time. These only need to be what the command line takes.
      for (const example of examples) {
        expect(example).toMatch(/^npx threadline [\w.: -]+$/)
        const [, , ...words] = example.split(" ")
        const outcome = yield* Cli.run(words, { url, cwd: home })
        expect(outcome, example).toEqual({ code: 0, stdout: expect.stringMatching(/\S/), stderr: expect.any(String) })
      }
      expect(existsSync(join(home, "threadline.config.ts"))).toBe(true)
      expect(yield* ask("select from threadline.capture_policies where removed_at is null")).toEqual([])

      // The configuration of the README takes the place of the file that `init` wrote.
      yield* ask(`
        create table users (id int primary key, email text, password_hash text);
        create table invoice_lines (invoice_id int, line int, primary key (invoice_id, line));
        create schema "Odd.Schema";
        create table "Odd.Schema"."T" (id int primary key)`)
      writeFileSync(join(home, "threadline.config.ts"), blocksOf(sectionOf("Configuration"))[0]?.text ?? "")
      yield* Effect.promise(() => run(home, "threadline", ["capture", "apply"], url))
      yield* Effect.promise(() => run(home, "threadline", ["capture", "apply", "--table", "invoice_lines"], url))
      expect(yield* ask("select excluded, masked from threadline.capture_policies where table_name = 'users'")).toEqual(
        [{ excluded: ["password_hash"], masked: ["email"] }]
      )

      for (const [file, language] of [
        ["sql", "sql"],
        ["cli", "sh"],
        ["capture", "sh"]
      ] as const) {
        if (file === "capture") {
          yield* becomeSuperuser
        }
        yield* follow(readFileSync(join(root, "docs", `${file}.md`), "utf8"), language)
      }
      const parts = yield* ask(`
        select t.actor_id, a.name
        from threadline.audit_transactions t
        left join threadline.audit_actions a on a.id = t.action_id
        order by t.id desc
        limit 2`)
      expect(parts).toEqual([
        { actor_id: "billing", name: "post.billed" },
        { actor_id: "shop", name: null }
      ])
    }),
  900_000
)

it("README.md installs every peer that is needed in the version that it is tested with, and says which versions are the oldest and the newest", () => {
  const line = /^npm install threadline (.*)$/m.exec(readme)?.[1] ?? ""
  const named = new Map(
    line.split(" ").map((word) => [word.slice(0, word.lastIndexOf("@")), word.slice(word.lastIndexOf("@") + 1)])
  )
  const optional = Object.keys(manifest.peerDependenciesMeta)
  const needed = Object.keys(manifest.peerDependencies).filter((name) => !optional.includes(name))
  expect([...named.keys()].sort()).toEqual(needed.sort())
  for (const [name, range] of Object.entries<string>(manifest.peerDependencies)) {
    const newest = manifest.devDependencies[name]
    const oldest = /^(?:\^|>=)([\d.]+)/.exec(range)?.[1]
    if (needed.includes(name)) {
      expect(named.get(name), name).toBe(newest)
    }
    const row = readme.split("\n").find((text) => text.startsWith(`| \`${name}\` `))
    expect(row?.split(/[ |`]+/).slice(1, -1), name).toEqual([name, oldest, newest])
  }
})
