import { expect, it } from "@effect/vitest"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { request } from "node:http"
import { join } from "node:path"
import * as Capture from "../../src/Capture.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import * as Cli from "../support/cli.js"
import * as Process from "../support/cliProcess.js"
import { scratch } from "../support/scratch.js"

const ask = (url: string, headers: Readonly<Record<string, string>> = {}) =>
  Effect.promise(() => fetch(url, { redirect: "manual", headers }))

/** The status for a request that names another host, as a trick of DNS makes a browser do. `fetch` does not set the header. */
const askAs = (url: string, host: string, cookie: string) =>
  Effect.async<number | undefined>((resume) => {
    request(url, { headers: { host, cookie } }, (response) => {
      response.resume()
      resume(Effect.succeed(response.statusCode))
    }).end()
  })

/** A directory with a configuration of these relations. */
const configured = (relations: unknown) => scratch({ "threadline.config.json": JSON.stringify({ relations }) })

/** A database with an invoice and its lines. */
const shop = Effect.gen(function* () {
  const database = yield* TestDatabase.TestDatabase
  const sql = yield* SqlClient.SqlClient
  yield* sql`create table invoices (id int primary key)`
  yield* sql`create table invoice_lines (id int primary key, invoice_id int, item text)`
  yield* Capture.apply([{ table: "invoices" }, { table: "invoice_lines" }]).pipe(Effect.provide(Capture.layer))
  yield* sql`insert into invoice_lines values (1, 1, 'widget'), (2, 1, 'gadget')`
  yield* sql`insert into invoices values (1)`
  return database
})

it.scoped("the pages are served to one browser, with a token that works once, until a signal ends them", () =>
  Effect.gen(function* () {
    const { url } = yield* shop
    const directory = yield* configured({
      invoices: { lines: { table: "public.invoice_lines", columns: { invoice_id: "id" } } }
    })
    const child = yield* Process.start(
      ["serve", "--prefix", "/log", "--json", "--config", join(directory, "threadline.config.json")],
      {
        DATABASE_URL: url
      }
    )
    const { url: address } = JSON.parse(yield* Process.firstLine(child)) as { readonly url: string }
    expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/log\/\?token=[\w-]{32}$/)
    const base = new URL("/log", address).href
    for (const path of ["", "/timeline", "/nope", "/?token=wrong"]) {
      expect([path, (yield* ask(`${base}${path}`)).status]).toStrictEqual([path, 401])
    }
    const entered = yield* ask(address)
    expect([entered.status, entered.headers.get("location")]).toStrictEqual([303, "/log/"])
    const cookie = entered.headers.get("set-cookie") ?? ""
    expect(cookie).toMatch(/^threadline_session=[\w-]{32}; Path=\/log; HttpOnly; SameSite=Strict$/)
    const session = cookie.split(";")[0] ?? ""
    for (const path of ["/", "/timeline", "/coverage"]) {
      expect([path, (yield* ask(`${base}${path}`, { cookie: session })).status]).toStrictEqual([path, 200])
    }
    // With the relations of the configuration.
    const row = yield* ask(`${base}/rows/invoices/1`, { cookie: session })
    const rowText = (yield* Effect.promise(() => row.text()))
      .replaceAll(/<(style|script)[^]*?<\/\1>/g, "")
      .replaceAll(/<[^>]*>/g, " ")
    expect(rowText).toMatch(/lines\s[^]*widget[^]*gadget/)
    // Used up, and of no use under another name of this machine.
    expect((yield* ask(address)).status).toBe(401)
    expect(yield* askAs(`${base}/timeline`, "evil.test", session)).toBe(401)
    child.kill("SIGTERM")
    const code = yield* Effect.async<number | null>((resume) => {
      child.on("exit", (exit) => resume(Effect.succeed(exit)))
    })
    expect(code).toBe(130)
  }).pipe(Effect.provide(TestDatabase.layer))
)

it.effect("serving refuses what it cannot use before anything is served", () =>
  Effect.gen(function* () {
    expect(yield* Process.run(["serve", "--port", "0"], { DATABASE_URL: "postgres://127.0.0.1:1/x" })).toMatchObject({
      code: 2,
      stdout: ""
    })
    expect(
      yield* Process.run(["serve", "--prefix", "../x"], { DATABASE_URL: "postgres://127.0.0.1:1/x" })
    ).toMatchObject({ code: 2, stdout: "" })
    expect(yield* Process.run(["serve"], { DATABASE_URL: "postgres://127.0.0.1:1/x" })).toMatchObject({
      code: 3,
      stdout: ""
    })
  })
)

it.scoped("relations that cannot be are refused, with the name of the field, before the database is asked", () =>
  Effect.gen(function* () {
    const lines = { table: "invoice_lines", columns: { invoice_id: "id" } }
    for (const [relations, message] of [
      [[lines], /relations: must be an object of relations by table/],
      [{ "a..b": { lines } }, /relations\["a\.\.b"\]: /],
      [{ invoices: lines }, /relations\.invoices\.\w+: must be a relation/],
      [{ invoices: { lines: { ...lines, table: "a..b" } } }, /relations\.invoices\.lines\.table: /],
      [
        { invoices: { lines: { ...lines, columns: {} } } },
        /relations\.invoices\.lines\.columns: must name at least one/
      ],
      [{ invoices: { lines: { ...lines, limt: 5 } } }, /relations\.invoices\.lines\.limt: is not known here/]
    ] as const) {
      const cwd = yield* configured(relations)
      expect(yield* Cli.run(["serve"], { url: "postgres://127.0.0.1:1/x", cwd })).toEqual(Cli.refusal(2, message))
    }
  })
)
