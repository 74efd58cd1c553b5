/** The examples as somebody starts them: a process, on a database without anything, called over HTTP. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Scope } from "effect/Scope"
import * as TestDatabase from "../harness/TestDatabase.js"

const root = join(import.meta.dirname, "../..")

/** Starts an example; its address, when it listens. The scope ends it. */
const started = (example: string, url: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(
        () =>
          new Promise<{ readonly origin: string; readonly end: () => Promise<unknown> }>((resolve, reject) => {
            const child = spawn(process.execPath, ["--import", "tsx", `examples/${example}/main.ts`], {
              cwd: root,
              env: { ...process.env, DATABASE_URL: url, PORT: "0", NODE_ENV: "development" },
              stdio: ["ignore", "pipe", "pipe"]
            })
            const printed: Array<string> = []
            child.stderr.on("data", (data) => printed.push(String(data)))
            const exited = new Promise<number | null>((done) => child.once("exit", done))
            void exited.then((code) => reject(new Error(`${example} ended with ${code}: ${printed.join("")}`)))
            createInterface(child.stdout).on("line", (line) => {
              printed.push(`${line}\n`)
              const origin = /^Listening on (\S+)\. /.exec(line)?.[1]
              if (origin !== undefined) {
                resolve({ origin, end: () => (child.kill("SIGTERM"), exited) })
              }
            })
          })
      ),
      ({ end }) => Effect.promise(end)
    ),
    ({ origin }) => origin
  )

/** What an example prints that ends by itself. */
const printedBy = (example: string, url: string) =>
  Effect.flatMap(
    Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, ["--import", "tsx", `examples/${example}/main.ts`], {
          cwd: root,
          env: { ...process.env, DATABASE_URL: url },
          stdio: ["ignore", "pipe", "pipe"]
        })
      ),
      // It ends the processes that it has started.
      (child) =>
        child.exitCode === null
          ? Effect.async<void>((resume) => {
              child.once("exit", () => resume(Effect.void)).kill("SIGTERM")
            })
          : Effect.void
    ),
    (child) =>
      Effect.async<string>((resume) => {
        let printed = ""
        let complaints = ""
        child.stdout.on("data", (data) => (printed += String(data)))
        child.stderr.on("data", (data) => (complaints += String(data)))
        child.once("close", (code) => resume(Effect.succeed(code === 0 ? printed : `${printed}${complaints}`)))
      })
  )

/** A browser of sorts: it keeps the cookies that it is given. */
const visitor = (origin: string) => {
  const cookies = new Map<string, string>()
  return async (method: string, path: string, body?: object, headers: Readonly<Record<string, string>> = {}) => {
    const response = await fetch(origin + path, {
      method,
      headers: {
        origin,
        cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; "),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) })
    })
    for (const cookie of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? []
      cookies.set(name, value)
    }
    const text = await response.text()
    return {
      status: response.status,
      text,
      type: response.headers.get("content-type"),
      json: (): unknown => JSON.parse(text)
    }
  }
}

const call = (visit: ReturnType<typeof visitor>, ...request: Parameters<ReturnType<typeof visitor>>) =>
  Effect.promise(() => visit(...request))

const inFreshDatabase = <A, E>(use: (url: string) => Effect.Effect<A, E, SqlClient.SqlClient | Scope>) =>
  Effect.flatMap(TestDatabase.TestDatabase, ({ url }) => use(url)).pipe(
    Effect.scoped,
    Effect.provide(TestDatabase.layerWith({ schema: false }))
  )

interface Recorded {
  readonly action: string
  readonly actor: string | null
  readonly by: string | null
  readonly on_behalf_of: string | null
  readonly source: string | null
  readonly correlation: string | null
  readonly tables: string | null
}

/** The actions, oldest first, with who did them and what changed. */
const recorded = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<Recorded>`
    select a.name as action, a.actor ->> 'label' as actor, a.actor #>> '{impersonator,id}' as by,
      t.meta #>> '{onBehalfOf,label}' as on_behalf_of, t.source, a.correlation_id as correlation,
      (select string_agg(c.op || ' ' || c.table_name, ', ' order by c.id)
       from threadline.audit_changes c where c.transaction_id = a.transaction_id) as tables
    from threadline.audit_actions a
    left join threadline.audit_transactions t on t.id = a.transaction_id
    order by a.id`
)

/** The record when it has so many of an action: a worker does its job a little later. */
const recordedWith = (action: string, count: number) =>
  Effect.delay(recorded, "100 millis").pipe(
    Effect.repeat({ until: (rows) => rows.filter((row) => row.action === action).length === count }),
    Effect.timeout("1 minute")
  )

it.live(
  "the example of Express, Drizzle, better-auth and pg-boss has sessions, impersonation and jobs in its record",
  () =>
    inFreshDatabase((url) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const origin = yield* started("express-drizzle", url)
        const nobody = visitor(origin)
        expect((yield* call(nobody, "POST", "/invoices", { customer: "Ann", total: "12.50" })).status).toBe(401)

        const people = ["Carl", "Rosa"].map((name) => ({ name, email: `${name}@example.com`, password: "long enough" }))
        const carl = visitor(origin)
        const rosa = visitor(origin)
        expect((yield* call(carl, "POST", "/api/auth/sign-up/email", people[0])).status).toBe(200)
        expect((yield* call(rosa, "POST", "/api/auth/sign-up/email", people[1])).status).toBe(200)
        const [administrator] = yield* sql<{ id: string }>`
        update "user" set role = 'admin' where name = 'Rosa' returning id`

        // Carl acts for nobody else. What the request says of the actor is not believed, of the correlation only as an id.
        const made = yield* call(carl, "POST", "/invoices", { customer: "Ann", total: "12.50" }, { "x-actor": "root" })
        expect([made.status, made.json()]).toEqual([201, { id: 1 }])
        expect((yield* call(carl, "POST", "/invoices", { customer: "Ann", total: "1e9" })).status).toBe(400)
        const paid = { "x-correlation-id": "order-77" }
        expect((yield* call(carl, "POST", "/invoices/1/pay", undefined, paid)).status).toBe(204)
        expect((yield* call(carl, "POST", "/invoices/x/pay")).status).toBe(404)
        yield* recordedWith("receipt.sent", 1)

        // Rosa in the name of Carl.
        const [customer] = yield* sql<{ id: string }>`select id from "user" where name = 'Carl'`
        const impersonated = yield* call(rosa, "POST", "/api/auth/admin/impersonate-user", { userId: customer?.id })
        expect(impersonated.status).toBe(200)
        expect((yield* call(rosa, "POST", "/invoices", { customer: "Bob", total: "3" })).status).toBe(201)
        expect((yield* call(rosa, "POST", "/invoices/2/pay")).status).toBe(204)

        const rows = yield* recordedWith("receipt.sent", 2)
        const seen = rows.map(({ correlation, ...row }) => ({ ...row, order: correlation === "order-77" }))
        const by = administrator?.id ?? "nobody"
        const nothing = { by: null, on_behalf_of: null, order: false }
        const signedIn = { ...nothing, action: "user.signed-in", actor: null, source: null, tables: null }
        expect(seen).toEqual([
          signedIn,
          signedIn,
          { ...nothing, action: "invoice.created", actor: "Carl", source: "shop", tables: "insert invoices" },
          { ...nothing, action: "invoice.paid", actor: "Carl", source: "shop", tables: "update invoices", order: true },
          {
            ...nothing,
            action: "receipt.sent",
            actor: null,
            on_behalf_of: "Carl",
            source: "worker",
            tables: "insert receipts",
            order: true
          },
          { ...signedIn, action: "user.impersonated" },
          { ...nothing, action: "invoice.created", actor: "Carl", by, source: "shop", tables: "insert invoices" },
          { ...nothing, action: "invoice.paid", actor: "Carl", by, source: "shop", tables: "update invoices" },
          {
            ...nothing,
            action: "receipt.sent",
            actor: null,
            on_behalf_of: "Carl",
            source: "worker",
            tables: "insert receipts"
          }
        ])

        // A job whose envelope somebody changed is done, in its own name alone.
        yield* sql`insert into invoices (customer, total) values ('Eve', 1)`
        yield* sql`
        insert into pgboss.job (name, data)
        values ('send-receipt', ${JSON.stringify({ invoice: 3, customer: "Eve", envelope: "forged" })}::jsonb)`
        expect((yield* recordedWith("receipt.sent", 3)).at(-1)).toMatchObject({
          on_behalf_of: null,
          source: "worker",
          tables: "insert receipts"
        })
      })
    )
)

it.live("the example of Effect has sessions, tenants as scope, a job, an export, and an OpenAPI document of all", () =>
  inFreshDatabase((url) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const roles = "invoicing_writer, invoicing_reader"
      yield* Effect.addFinalizer(() => Effect.ignore(sql.unsafe(`drop owned by ${roles}; drop role ${roles}`)))
      const origin = yield* started("effect-host", url)
      const ann = visitor(origin)
      const bob = visitor(origin)
      expect((yield* call(ann, "POST", "/invoices", { customer: "Zoe", total: "12.50" })).status).toBe(401)
      expect((yield* call(ann, "POST", "/sessions", { name: "ann", password: "guessed" })).status).toBe(401)
      expect((yield* call(ann, "POST", "/sessions", { name: "ann", password: "ann's password" })).status).toBe(204)
      expect((yield* call(bob, "POST", "/sessions", { name: "bob", password: "bob's password" })).status).toBe(204)

      const made = yield* call(ann, "POST", "/invoices", { customer: "Zoe", total: "12.50" })
      expect([made.status, made.json()]).toEqual([201, { id: 1, customer: "Zoe", state: "draft", total: "12.50" }])
      expect((yield* call(ann, "POST", "/invoices", { customer: "Zoe", total: "1e9" })).status).toBe(400)
      const paid = yield* call(ann, "POST", "/invoices/1/pay", undefined, { "x-correlation-id": "order-77" })
      expect([paid.status, paid.json()]).toMatchObject([200, { state: "paid" }])
      // An invoice of another tenant is as one that does not exist, and leaves no trace.
      expect((yield* call(bob, "POST", "/invoices/1/pay")).status).toBe(404)
      expect((yield* call(bob, "POST", "/invoices", { customer: "Kim", total: "3" })).status).toBe(201)

      const rows = yield* recordedWith("receipt.sent", 1)
      const nothing = { by: null, on_behalf_of: null, source: "api", order: false, tables: null }
      const annActs = { ...nothing, actor: "ann" }
      const seen = rows.map(({ correlation, ...row }) => ({ ...row, order: correlation === "order-77" }))
      const job = {
        ...nothing,
        action: "receipt.sent",
        actor: null,
        on_behalf_of: "ann",
        source: "worker",
        tables: "insert receipts",
        order: true
      }
      const byName = <Row extends Pick<Recorded, "action" | "actor">>(rows: ReadonlyArray<Row>) =>
        [...rows].sort((a, b) => `${a.action} ${a.actor}`.localeCompare(`${b.action} ${b.actor}`))
      // The worker and the last request are not in order.
      expect(byName(seen)).toEqual(
        byName([
          { ...annActs, action: "user.signed-in", source: null },
          { ...annActs, action: "user.signed-in", source: null, actor: "bob" },
          { ...annActs, action: "invoice.created", tables: "insert invoices" },
          { ...annActs, action: "invoice.paid", tables: "update invoices", order: true },
          { ...annActs, action: "invoice.created", actor: "bob", tables: "insert invoices" },
          job
        ])
      )

      // Each sees the record of their own tenant, whatever they ask for.
      const timeline = yield* call(ann, "GET", "/audit/timeline?table=invoices&order=oldest&limit=2")
      expect(timeline.json()).toMatchObject({
        items: [
          { op: "insert", dataAfter: { customer: "Zoe", state: "draft" } },
          { op: "update", dataAfter: { customer: "Zoe", state: "paid" } }
        ]
      })
      const others = yield* call(bob, "GET", "/audit/timeline?key=1&table=invoices")
      expect(others.json()).toEqual({ items: [], nextCursor: null, hasMore: false })
      expect((yield* call(bob, "GET", "/audit/timeline?cursor=forged")).status).toBe(400)
      expect((yield* call(bob, "GET", "/audit/timeline?table=nowhere")).status).toBe(404)
      const csv = yield* call(bob, "GET", "/audit/export?table=invoices")
      expect([csv.status, csv.type, csv.text]).toEqual([
        200,
        "text/csv; charset=utf-8; header=present",
        expect.stringContaining("Kim")
      ])
      expect(csv.text.split("\r\n").length).toBe(3)
      expect(csv.text).toContain("Kim")
      expect(csv.text).not.toContain("Zoe")

      const document = (yield* call(bob, "GET", "/openapi.json")).json()
      const parameters = ["table", "actor", "changedField", "cursor"].map((name): unknown =>
        expect.objectContaining({ name, in: "query" })
      )
      const page = { properties: { items: { items: { $ref: "#/components/schemas/threadline.Change" } } } }
      expect(document).toMatchObject({
        paths: {
          "/audit/timeline": {
            get: {
              parameters: expect.arrayContaining(parameters),
              responses: { 200: { content: { "application/json": { schema: page } } } }
            }
          }
        },
        components: { schemas: { "threadline.Change": { type: "object" } } }
      })

      // The host writes as one role and reads the record as another, and neither can change the record.
      const writers =
        yield* sql`select distinct db_user from threadline.audit_transactions where actor_type is not null`
      expect(writers).toEqual([{ db_user: "invoicing_writer" }])
      const powers = yield* sql`
        select r.rolname as role,
          has_table_privilege(r.oid, 'invoices', 'select') as host,
          has_table_privilege(r.oid, 'threadline.audit_changes', 'select') as record,
          has_table_privilege(r.oid, 'threadline.audit_changes', 'insert, update, delete, truncate') as change
        from pg_roles r
        where r.rolname in ('invoicing_writer', 'invoicing_reader')
        order by 1`
      expect(powers).toEqual([
        { role: "invoicing_reader", host: false, record: true, change: false },
        { role: "invoicing_writer", host: true, record: false, change: false }
      ])

      // A secret of a captured table is nowhere in the record.
      const secrets = yield* sql`
        select from threadline.audit_changes
        where data_after ?| array['password', 'salt'] or data_after ->> 'sent_to' in ('Zoe', 'Kim')`
      expect(secrets).toEqual([])
    })
  )
)

it.live(
  "the example of a cluster makes the file of an export whose process is killed in the middle",
  () =>
    inFreshDatabase((url) =>
      Effect.gen(function* () {
        const printed = yield* printedBy("cluster", url)
        expect(printed.replace(/^(one|two)/, "the first")).toBe(
          [
            "the first: attempt 1 at the export 1",
            "that process is killed",
            "the export 1 is completed in attempt 2: 5000 records, 0 differences",
            ""
          ].join("\n")
        )
      })
    ),
  // Three processes start, and each of them compiles what it runs.
  240_000
)
