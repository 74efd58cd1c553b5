import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { createHash } from "node:crypto"
import * as Actor from "../../../src/Actor.js"
import * as Capture from "../../../src/Capture.js"
import * as Evidence from "../../../src/Evidence.js"
import * as OperatorSurface from "../../../src/OperatorSurface.js"
import * as Query from "../../../src/Query.js"
import * as Threadline from "../../../src/Threadline.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { everything, hostile, pages, seed, services, textOf } from "../../support/operator.js"
import { until } from "../../support/until.js"

const hashes = (html: string, tag: string): ReadonlyArray<string> =>
  [...html.matchAll(new RegExp(`<${tag}>(.*?)</${tag}>`, "gs"))].map(
    ([, text = ""]) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`
  )

describe("options that cannot be used", () => {
  const layer = Layer.die("is not asked") as Layer.Layer<Query.Query>
  const attempt = (options: OperatorSurface.Options<Request>) => () => OperatorSurface.toWebHandler(layer, options)
  it("are refused before anything is served", () => {
    expect(attempt({})).toThrow(/authorize/)
    expect(attempt({ unauthenticated: false })).toThrow(/authorize/)
    expect(attempt({ unauthenticated: true, authorize: () => everything })).toThrow(/authorize/)
    expect(attempt({ unauthenticated: true, prefix: "audit" })).toThrow(/prefix/)
    expect(attempt({ unauthenticated: true, prefix: "/a/../b" })).toThrow(/prefix/)
    expect(attempt({ unauthenticated: true, timeZone: "Mars/Base" })).toThrow(/timeZone/)
    for (const timeout of [0, -1, "-1 seconds", "soon" as never] as const) {
      expect(attempt({ unauthenticated: true, timeout })).toThrow(/timeout: must be a duration/)
    }
    expect(attempt({ unauthenticated: true, secret: "short" })).toThrow(/secret/)
    expect(attempt({ unauthenticated: true, auditAcess: true } as never)).toThrow(/auditAcess: is not known here/)
  })
})

it.layer(TestDatabase.layer)("the operator surface", (it) => {
  it.scoped("shows every page with headers that let nothing in", () =>
    Effect.gen(function* () {
      const { opened, other, refunded } = yield* seed
      const ask = yield* pages()
      for (const [path, said] of [
        ["/audit", "What do you want to know?"],
        ["/audit/", "invoice.refunded"],
        ["/audit/timeline", "charged"],
        ["/audit/timeline?tz=Asia%2FTokyo", "Asia/Tokyo"],
        [`/audit/transactions/${refunded}`, "duplicate charge"],
        [`/audit/transactions/${other}`, "U+202E"],
        ["/audit/rows/public.invoices/2041", "As it stood"],
        ["/audit/rows/invoices/1", "globex"],
        [`/audit/rows/members/${encodeURIComponent('["acme","7"]')}`, "owner"],
        ["/audit/requests/r-1", "invoice.opened"],
        ["/audit/correlations/req-9f2c", "invoice.refunded"],
        [`/audit/correlations?id=${encodeURIComponent(hostile)}`, "1 change"],
        ["/audit/actors/user/42", "billing desk"],
        ["/audit/actors/user", "Every user"],
        ["/audit/actions", "invoice.deleted"]
      ] as const) {
        const { body, headers, status } = yield* ask(path)
        expect([path, status]).toStrictEqual([path, 200])
        expect(textOf(body)).toContain(said)
        expect(Buffer.byteLength(body)).toBeLessThan(60 * 1024)
        // No markup of a value, no address elsewhere.
        const shown = body.replaceAll(/ (?:data-copy|value)="[^"]*"/g, "")
        expect(/.{0,60}(?:<img|\u202E).{0,60}/s.exec(shown)?.[0]).toBeUndefined()
        expect(body.match(/<script>/g)).toHaveLength(1)
        expect(body).not.toMatch(/(?:src|href|action)="(?:https?:)?\/\//)
        const policy = headers.get("content-security-policy") ?? ""
        expect(policy).toContain("default-src 'none'")
        expect(policy).toContain("frame-ancestors 'none'")
        expect(policy).not.toContain("unsafe")
        for (const hash of [...hashes(body, "style"), ...hashes(body, "script")]) {
          expect(policy).toContain(hash)
        }
        expect(body).not.toMatch(/ style=| on[a-z]+="/)
        expect(headers.get("cache-control")).toBe("no-store")
        expect(headers.get("x-content-type-options")).toBe("nosniff")
      }

      // What is typed leads to what was meant, and the page says how it was understood.
      const asked = yield* ask("/audit/?q=invoices+2041")
      expect([asked.status, asked.headers.get("location")]).toStrictEqual([
        303,
        "/audit/rows/public.invoices/2041?q=invoices+2041"
      ])
      expect(textOf((yield* ask("/audit/rows/public.invoices/2041?q=invoices+2041")).body)).toContain(
        "Understood “invoices 2041” as row 2041 of public.invoices"
      )
      expect((yield* ask("/audit/?q=op:delete+table:invoices")).headers.get("location")).toContain(
        "/audit/timeline?table=public.invoices&op=delete&since=all"
      )
      expect((yield* ask("/audit/?q=billing+desk")).headers.get("location")).toBe(
        "/audit/actors/user/42?q=billing+desk"
      )
      expect(textOf((yield* ask("/audit/?q=nothing-like-this")).body)).toContain("Nothing is recorded of it")

      // A name without a schema is found wherever its table is.
      const sql = yield* SqlClient.SqlClient
      yield* sql.unsafe("create schema shop; create table shop.parcels (id int primary key)")
      yield* Effect.provide(Capture.apply([{ table: "shop.parcels" }]), yield* services)
      yield* sql`insert into shop.parcels values (7)`
      expect((yield* ask("/audit/?q=parcels+7")).headers.get("location")).toBe("/audit/rows/shop.parcels/7?q=parcels+7")
      expect(textOf((yield* ask("/audit/rows/shop.parcels/7?q=parcels+7")).body)).toMatch(
        /as row 7 of shop\.parcels\.(?!.*public\.parcels)/s
      )
      expect((yield* ask("/audit/?q=parcels")).headers.get("location")).toContain("/audit/timeline?table=shop.parcels")
      for (const [table, meant] of [
        ["parcels", "shop.parcels"],
        ["parcel", "shop.parcels"],
        ["invoicez", "public.invoices"]
      ]) {
        const unknown = yield* ask(`/audit/timeline?table=${table}`)
        expect([unknown.status, unknown.body]).toStrictEqual([
          404,
          expect.stringContaining(`href="/audit/timeline?table=${meant}&amp;since=all"`)
        ])
      }

      // What is wrong, unknown or not for reading has its own status.
      for (const [path, status] of [
        ["/audit/nope", 404],
        ["/elsewhere", 404],
        ["/auditor", 404],
        ["/audit/_design", 404],
        ["/audit/transactions/999999", 404],
        ["/audit/rows/nosuch/1", 404],
        ["/audit/rows/invoices/999", 404],
        ["/audit/correlations/none", 404],
        ["/audit/transactions/x", 400],
        ["/audit/actors/robot/1", 400],
        ["/audit/timeline?op=drop", 400],
        ["/audit/timeline?bogus=1", 400],
        ["/audit/timeline?cursor=bogus", 400],
        ["/audit/timeline?tz=Mars", 400],
        ["/audit/rows/invoices/%ff", 400],
        ["/audit/rows/invoices/2041?at=yesterday", 400],
        [`/audit/timeline?source=${"x".repeat(300)}`, 400],
        [`/audit/timeline?contains=${"x".repeat(20_000)}`, 414]
      ] as const) {
        expect([path, (yield* ask(path)).status]).toStrictEqual([path, status])
      }
      for (const [path, method, allow] of [
        ["/audit/timeline", "POST", "GET, HEAD"],
        ["/audit/exports/changes.csv", "DELETE", "GET, HEAD"],
        ["/audit/theme", "GET", "POST"]
      ] as const) {
        const { headers, status } = yield* ask(path, { method })
        expect([path, status, headers.get("allow")]).toStrictEqual([path, 405, allow])
      }
      for (const path of ["/audit/?q=%00", "/audit/?view=%00", "/audit/timeline?source=%00"]) {
        expect((yield* ask(path)).body).not.toContain("\u0000")
      }
      const head = yield* ask("/audit/timeline", { method: "HEAD" })
      expect([head.status, head.body]).toStrictEqual([200, ""])

      // A page of two, and both ways through it.
      const first = yield* ask("/audit/timeline?limit=2&since=all")
      const older = /href="([^"]+)" rel="next"/.exec(first.body)?.[1]?.replaceAll("&amp;", "&")
      const second = yield* ask(older ?? "")
      const newer = /href="([^"]+)" rel="prev"/.exec(second.body)?.[1]?.replaceAll("&amp;", "&")
      const back = yield* ask(newer ?? "")
      const ids = (body: string) => [...body.matchAll(/<tr id="c(\d+)"/g)].map(([, id]) => id)
      expect(ids(first.body)).toHaveLength(2)
      expect(ids(second.body)).toHaveLength(2)
      expect(ids(second.body)).not.toStrictEqual(ids(first.body))
      expect(ids(back.body)).toStrictEqual(ids(first.body))

      // A link to exactly this says whether it still is.
      const pinned = /href="([^"]+seen=[^"]+)"/.exec(first.body)?.[1]?.replaceAll("&amp;", "&") ?? ""
      yield* sql`update invoices set note = 'later' where id = 2041`
      const again = yield* ask(pinned)
      expect(ids(again.body)).toStrictEqual(ids(first.body))
      expect(textOf(again.body)).toContain("This is exactly what was seen when it was linked.")
      expect(textOf((yield* ask(pinned.replace(/seen=[^&]+/, "seen=2.000000000000"))).body)).toContain(
        "This is not quite what was seen"
      )
      expect(opened).toMatch(/^\d+$/)

      // Nobody is let in by mistake, and nothing is told of what there is.
      const secret = (scope: OperatorSurface.Access["scope"]) => ({ ...everything, scope })
      const answers: ReadonlyArray<readonly [number, OperatorSurface.Options<Request>["authorize"]]> = [
        [403, () => undefined],
        [403, () => null],
        [
          403,
          () => {
            throw new Error("broken")
          }
        ],
        [403, () => Promise.reject(new Error("broken"))],
        [403, () => Effect.die("broken")],
        [403, () => new OperatorSurface.Denied({ reason: "Forbidden" })],
        [401, () => Effect.fail(new OperatorSurface.Denied({ reason: "Unauthenticated", signIn: "/login" }))],
        [401, () => Promise.resolve(new OperatorSurface.Denied({ reason: "Unauthenticated" }))],
        // As a host in JavaScript may answer.
        [403, (() => ({ viewer: Actor.admin("1") })) as never],
        [403, (() => ({ ...everything, scope: undefined })) as never],
        [403, (() => ({ ...everything, capabilities: ["everything"] })) as never],
        [403, (() => true) as never]
      ]
      for (const [status, authorize] of answers) {
        const denied = yield* pages({ authorize })
        const knownId = yield* denied(`/audit/transactions/${refunded}`)
        const unknown = yield* denied("/audit/nope/nope")
        expect([knownId.status, unknown.status]).toStrictEqual([status, status])
        expect(knownId.body.replaceAll(/value="[^"]*"/g, "")).toBe(
          unknown.body
            .replaceAll(/value="[^"]*"/g, "")
            .replaceAll("/audit/nope/nope", `/audit/transactions/${refunded}`)
        )
        expect(knownId.body).not.toContain("invoice.refunded")
        // It leads nowhere but to where one signs in.
        expect([...knownId.body.matchAll(/(?:href|action)="([^"]+)"/g)].map(([, to]) => to).slice(1)).toStrictEqual(
          knownId.body.includes("Sign in</a>") ? ["/login"] : []
        )
      }

      // Out of scope is the same page as unknown.
      const acme = yield* pages({
        authorize: () =>
          secret((surface, columns) => surface === "changes" && columns.sql`${columns.image} ->> 'tenant' = 'acme'`)
      })
      const hidden = yield* acme(`/audit/transactions/${other}`)
      const missing = yield* acme("/audit/transactions/999999")
      expect(hidden.status).toBe(404)
      const without = (body: string, id: string) => body.replaceAll(new RegExp(`([/>])${id}(?=[<"])`, "g"), "$1N")
      expect(without(hidden.body, other)).toBe(without(missing.body, "999999"))
      expect(textOf((yield* acme("/audit/timeline")).body)).not.toContain("globex")

      // What a page was asking is cancelled with it.
      const slow = yield* pages({
        timeout: "300 millis",
        authorize: () =>
          secret((surface, columns) => surface === "changes" && columns.sql`(select true from pg_sleep(600))`)
      })
      const late = yield* slow("/audit/timeline")
      expect(late.status).toBe(504)
      expect(textOf(late.body)).toContain("This took too long")
      yield* until(
        "the statement of the page is cancelled",
        Effect.map(
          sql`
            select
            from pg_stat_activity
            where datname = current_database()
              and query like '%pg_sleep(600)%'
              and state = 'active'
              and pid <> pg_backend_pid()`,
          (found) => found.length === 0
        )
      )

      // A failure has a reference, and nothing else.
      const toldFailures: Array<OperatorSurface.Failure> = []
      const broken = yield* pages({
        authorize: () => secret((_, columns) => columns.sql`no_such_column = 1`),
        onFailure: (failure) => toldFailures.push(failure)
      })
      const failed = yield* broken("/audit/timeline")
      expect(failed.status).toBe(500)
      expect(failed.body).not.toContain("no_such_column")
      expect(toldFailures.map(({ page }) => page)).toStrictEqual(["Timeline"])
      expect(failed.body).toContain(toldFailures[0]?.reference)
    })
  )

  it.scoped("denies every capability that is not named, and records who looked if it is told to", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [reader, all] = [
        yield* pages({ authorize: () => ({ viewer: Actor.admin("5"), scope: "everything" }) }),
        yield* pages({ auditAccess: true, retention: { keep: "365 days" }, authorize: () => everything })
      ]
      const token = /name="token" value="([^"]+)"/.exec((yield* reader("/audit/timeline")).body)?.[1] ?? ""
      for (const [path, capability] of [
        ["/audit/coverage", "coverage"],
        ["/audit/policy/redaction", "policy"],
        ["/audit/policy/retention", "policy"],
        ["/audit/evidence", "evidence"],
        ["/audit/exports", "export"],
        ["/audit/exports/1/download", "export"],
        ["/audit/exports/changes.csv", "export"],
        ["/audit/exports/changes.json?table=nosuch", "export"]
      ] as const) {
        const refused = yield* reader(path)
        expect([path, refused.status]).toStrictEqual([path, 403])
        expect(textOf(refused.body)).toContain(`the capability ${capability}`)
      }
      for (const act of ["exports/queue", "exports/cancel", "exports/retry", "policy/retention/run"]) {
        const refused = yield* reader(`/audit/${act}`, {
          method: "POST",
          body: new URLSearchParams({ token, id: "1", format: "csv", confirm: "purge" }),
          headers: { "sec-fetch-site": "same-origin" }
        })
        expect([act, refused.status]).toStrictEqual([act, 403])
      }
      expect((yield* reader("/audit/timeline")).body).not.toContain("/audit/exports")

      for (const path of [
        "/audit/coverage",
        "/audit/policy/redaction",
        "/audit/policy/retention",
        "/audit/exports",
        "/audit/timeline"
      ]) {
        const shown = yield* all(path)
        expect([path, shown.status]).toStrictEqual([path, 200])
        expect(Buffer.byteLength(shown.body)).toBeLessThan(60 * 1024)
      }
      expect(
        yield* sql`select actor_id, subject_id, data ->> 'address' as address from threadline.audit_actions where name = 'audit.viewed' order by id`
      ).toStrictEqual([
        { actor_id: "1", subject_id: "Coverage", address: "/audit/coverage" },
        { actor_id: "1", subject_id: "Redaction", address: "/audit/policy/redaction" },
        { actor_id: "1", subject_id: "Retention", address: "/audit/policy/retention" },
        { actor_id: "1", subject_id: "Exports", address: "/audit/exports" },
        { actor_id: "1", subject_id: "Timeline", address: "/audit/timeline" }
      ])

      // A job is queued, listed, and cancelled by forms; one that is not there is not found.
      const own = /name="token" value="([^"]+)"/.exec((yield* all("/audit/exports")).body)?.[1] ?? ""
      const post = (act: string, fields: Record<string, string>) =>
        all(`/audit/${act}`, {
          method: "POST",
          body: new URLSearchParams({ token: own, ...fields }),
          headers: { "sec-fetch-site": "same-origin" }
        })
      expect((yield* post("exports/queue", { format: "csv", filter: "op:delete" })).status).toBe(303)
      expect((yield* post("exports/queue", { format: "exe", filter: "" })).status).toBe(400)
      expect((yield* post("exports/queue", { format: "csv", filter: "op:drop" })).status).toBe(400)
      const listed = yield* all("/audit/exports")
      const id = /name="id" value="(\d+)"/.exec(listed.body)?.[1] ?? ""
      expect(textOf(listed.body)).toContain("op:delete")
      expect((yield* post("exports/cancel", { id })).status).toBe(303)
      expect(textOf((yield* all("/audit/exports")).body)).toContain("cancelled")
      expect((yield* post("exports/cancel", { id: "999" })).status).toBe(404)
      expect((yield* all("/audit/exports/999/download")).status).toBe(404)
      expect((yield* post("policy/retention/run", { confirm: "yes" })).status).toBe(400)
      // A viewer with a scope that has no name sees no jobs of others.
      const scoped = yield* pages({ authorize: () => ({ ...everything, scope: () => true }) })
      expect(textOf((yield* scoped("/audit/exports")).body)).not.toContain("op:delete")
      expect((yield* scoped("/audit/exports/1/download")).status).toBe(403)
    })
  )

  it.scoped("keeps the views of each viewer apart, and opens, replaces and deletes them by name", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const by = (viewer: Actor.Actor) =>
        Effect.gen(function* () {
          const ask = yield* pages({ authorize: () => ({ viewer, scope: "everything" }) })
          const token = /name="token" value="([^"]+)"/.exec((yield* ask("/audit/timeline")).body)?.[1] ?? ""
          const post = (act: string, fields: Record<string, string>, given = token) =>
            ask(`/audit/views/${act}`, {
              method: "POST",
              body: new URLSearchParams({ token: given, ...fields }),
              headers: { "sec-fetch-site": "same-origin" }
            })
          return { ask, post }
        })
      const [one, other, nobody] = [
        yield* by(Actor.user("one")),
        yield* by(Actor.user("other")),
        yield* by(Actor.anonymous)
      ]
      const view = { name: hostile, filter: "table=public.invoices&op=update", since: "90s" }
      expect((yield* one.post("save", view, "forged")).status).toBe(403)
      expect((yield* one.ask("/audit/views/save")).status).toBe(405)
      const saved = yield* one.post("save", view)
      expect([saved.status, saved.headers.get("location")]).toStrictEqual([303, "/audit/#views"])
      expect((yield* one.post("save", view)).status).toBe(409)
      expect((yield* one.post("save", { ...view, replace: "on" })).status).toBe(303)
      expect((yield* one.post("save", { ...view, name: " " })).status).toBe(400)
      expect((yield* one.post("save", { ...view, name: "x", filter: "nosuch=1" })).status).toBe(400)
      expect((yield* one.post("save", { ...view, name: "x", since: "soon" })).status).toBe(400)
      expect(yield* sql`select owner_id, filter, since from threadline.saved_views`).toStrictEqual([
        { owner_id: "one", filter: view.filter, since: "90s" }
      ])
      const home = yield* one.ask("/audit/")
      expect(home.body).not.toContain("<script>alert")
      const opened = yield* one.ask(`/audit/?view=${encodeURIComponent(hostile)}`)
      expect([opened.status, opened.headers.get("location")]).toStrictEqual([
        303,
        "/audit/timeline?table=public.invoices&op=update&since=90s"
      ])
      expect(textOf((yield* one.ask("/audit/timeline?table=invoices&since=90s")).body)).toContain("last 90 seconds")
      // One without times asks for all time, as it did when it was saved.
      yield* one.post("save", { name: "all", filter: "op=delete", since: "" })
      expect((yield* one.ask("/audit/?view=all")).headers.get("location")).toBe("/audit/timeline?op=delete&since=all")
      // Another viewer sees none of it, and cannot delete it.
      expect(textOf((yield* other.ask("/audit/")).body)).toContain("None yet")
      expect((yield* other.ask("/audit/?view=all")).status).toBe(404)
      expect((yield* other.post("delete", { name: "all" })).status).toBe(404)
      expect((yield* one.post("delete", { name: "all" })).status).toBe(303)
      expect((yield* one.post("delete", { name: "all" })).status).toBe(404)
      // A viewer who cannot be told from others has no views.
      const page = yield* nobody.ask("/audit/timeline")
      expect(textOf(page.body)).not.toContain("Save this view")
      expect((yield* nobody.post("save", view)).status).toBe(403)
    })
  )

  it.scoped("shows evidence, and since when what can be asked", () =>
    Effect.gen(function* () {
      const layer = yield* services
      yield* Effect.provide(
        Effect.gen(function* () {
          yield* Evidence.derive("trigger_coverage", { reference: "production" })
          for (let i = 0; i < 30; i++) {
            yield* Evidence.exportDelivery({
              reference: hostile,
              status: "failed",
              detail: { format: "csv", count: 1, bytes: 1, sha256: "ab", recipient: hostile },
              actor: Actor.user(hostile)
            })
          }
        }),
        layer
      )
      const ask = yield* pages()
      const shown = yield* ask("/audit/evidence")
      expect(shown.status).toBe(200)
      expect(shown.body).not.toContain("<script>alert")
      const text = textOf(shown.body)
      expect(text).toMatch(/trigger coverage\s*(ok|attention|failed)/)
      expect(text).toMatch(/export delivery\s*unproven/)
      expect(text).toContain("threadline evidence overview")
      const older = /href="([^"]*cursor=[^"]*)"/.exec(shown.body)?.[1]?.replaceAll("&amp;", "&") ?? ""
      expect(textOf((yield* ask(older)).body)).toContain("found by Threadline")
      const own = textOf((yield* ask("/audit/evidence?subject=trigger_coverage")).body)
      expect([own.includes("found by Threadline"), own.includes("as the host says")]).toStrictEqual([true, false])
      expect((yield* ask("/audit/evidence?subject=nosuch")).status).toBe(400)
      expect((yield* ask("/audit/evidence?cursor=x")).status).toBe(400)
      const coverage = textOf((yield* ask("/audit/coverage")).body)
      expect(coverage).toContain("What can be asked")
      expect(coverage).toContain("not now: no baseline")

      // What is the matter with many tables in the same way is said once.
      const sql = yield* SqlClient.SqlClient
      const named = Array.from({ length: 15 }, (_, index) => `later_${index}`)
      yield* sql.unsafe(named.map((name) => `create table ${name} (id int primary key)`).join(";"))
      const configured = yield* pages({
        authorize: () => everything,
        health: { tables: named.map((table) => ({ table })) }
      })
      const missing = textOf((yield* configured("/audit/coverage")).body)
      expect(missing.match(/configured and not captured/g)).toHaveLength(1)
      expect(missing).toContain("and 3 more")
    })
  )

  it.scoped("shows what stands for a masked value as redaction with its reason, if the policy says so", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const layer = yield* services
      yield* sql.unsafe("create table cards (id int primary key, number text, iban text, pin text, note text)")
      yield* Capture.apply([
        {
          table: "cards",
          mask: [
            { column: "number", as: "last4" },
            { column: "iban", as: "hash" },
            { column: "pin", as: "null" }
          ]
        }
      ]).pipe(Effect.provide(layer))
      yield* sql`insert into cards values (1, '4242424242424242', 'DE89', '1234', '****9999')`
      yield* sql`update cards set number = '5555555555554444', iban = 'DE90', pin = '9'`
      const ask = yield* pages()
      for (const path of ["/audit/timeline?table=cards", "/audit/rows/public.cards/1"]) {
        const { body } = yield* ask(path)
        const text = textOf(body)
        expect(text).toContain("masked by policy, but for the end")
        expect(text).toContain("****4444")
        expect(text).toContain("hashed by policy")
        expect(text).toContain("null by policy")
        expect(text).toContain("neither value is stored")
        // A value of a column in clear is what it is, whatever it looks like.
        expect(body).toMatch(/(?<!but for the end<\/span> <span class="v">)\*{4}9999/)
      }
      // A place inside of a document as well, and a change of nothing but such places is told from none.
      yield* sql.unsafe("create table settings (id int primary key, doc jsonb)")
      yield* Capture.apply([
        {
          table: "settings",
          mask: [
            "doc.token",
            { column: "doc", path: ["people", "card"], as: "last4" },
            { column: "doc", path: ["pin"], as: "null" }
          ]
        }
      ]).pipe(Effect.provide(layer))
      const doc = { theme: "dark", token: "secret", people: [{ card: "4242424242424242" }], pin: 1 }
      yield* sql`insert into settings values (1, ${JSON.stringify(doc)}::jsonb)`
      yield* sql`update settings set doc = jsonb_set(doc, '{token}', '"other"')`
      yield* sql`update settings set doc = jsonb_set(doc, '{people,0,card}', '"5555555555554444"')`
      const fresh = yield* pages()
      const stored = textOf((yield* fresh("/audit/rows/public.settings/1")).body)
      expect(stored).toContain('"token":masked by policy')
      expect(stored).toContain('"card":masked by policy, but for the end ****4444')
      expect(stored).toContain('"pin":null by policy')
      expect(stored).toContain("masked by policy changed; neither value is stored")
      expect(stored).toContain("people[0].card masked by policy, but for the end ****4242→")

      // Without the service that knows the policy, the page shows what is recorded.
      const { handler } = yield* Effect.acquireRelease(
        Effect.sync(() =>
          OperatorSurface.toWebHandler(Query.layer.pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, sql))), {
            authorize: () => everything
          })
        ),
        ({ dispose }) => Effect.promise(dispose)
      )
      const bare = yield* Effect.promise(() =>
        handler(new Request("http://host.test/audit/timeline?table=cards")).then((response) => response.text())
      )
      expect([bare.includes("****4444"), bare.includes("by policy")]).toStrictEqual([true, false])
    })
  )

  it.scoped("takes forms of its own pages alone", () =>
    Effect.gen(function* () {
      const ask = yield* pages()
      const page = yield* ask("/audit/timeline")
      const token = /name="token" value="([^"]+)"/.exec(page.body)?.[1] ?? ""
      const post = (fields: Record<string, string>, headers: Record<string, string>) =>
        ask("/audit/theme", { method: "POST", body: new URLSearchParams(fields), headers })
      const own = { "sec-fetch-site": "same-origin", origin: "http://host.test" }
      const set = yield* post({ token, theme: "dark", back: "/audit/timeline?since=7d" }, own)
      expect([set.status, set.headers.get("location")]).toStrictEqual([303, "/audit/timeline?since=7d"])
      expect(set.headers.get("set-cookie")).toBe(
        "threadline_theme=dark; Path=/audit; SameSite=Strict; HttpOnly; Max-Age=31536000"
      )
      const dark = yield* ask("/audit/timeline", { headers: { cookie: "a=b; threadline_theme=dark" } })
      expect(dark.body).toContain('data-theme="dark"')
      const odd = yield* ask("/audit/timeline", { headers: { cookie: 'threadline_theme="><script>' } })
      expect(odd.body).not.toContain('data-theme=""')
      for (const [fields, headers] of [
        [{ token: "", theme: "dark" }, own],
        [{ token: `${token}x`, theme: "dark" }, own],
        [{ token, theme: "dark" }, { "sec-fetch-site": "cross-site" }],
        [{ token, theme: "dark" }, { "sec-fetch-site": "same-site" }],
        [{ token, theme: "dark" }, { origin: "http://evil.test" }],
        [{ token, theme: "dark" }, { origin: "null" }],
        [{ token, theme: "dark" }, {}]
      ] as const) {
        const refused = yield* post(fields, headers)
        expect([fields, headers, refused.status]).toStrictEqual([fields, headers, 403])
        expect(refused.headers.get("set-cookie")).toBeNull()
      }
      const away = yield* post({ token, theme: "dark", back: "https://evil.test/" }, own)
      expect(away.headers.get("location")).toBe("/audit/")
      const other = yield* pages({ authorize: () => ({ ...everything, viewer: Actor.admin("2") }) })
      const stolen = yield* other("/audit/theme", {
        method: "POST",
        body: new URLSearchParams({ token, theme: "dark" }),
        headers: own
      })
      expect(stolen.status).toBe(403)
    })
  )

  it.scoped("is not confused by paths, headers and sizes, and never answers with another site", () =>
    Effect.gen(function* () {
      const logged: Array<unknown> = []
      const logger = Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ annotations, message }) => {
          logged.push([message, HashMap.toEntries(annotations)])
        })
      )
      const ask = yield* pages()
      // The same page, or none: never another one, and never a redirect.
      const toldFailures: Array<readonly [string, number]> = []
      const paths = [
        ["/audit/timeline/", 200],
        ["/audit//timeline", 400],
        ["//audit/timeline", 404],
        ["/audit/timeline//", 400],
        ["/audit/Timeline", 404],
        ["/AUDIT/timeline", 404],
        ["/audit/./timeline", 200],
        ["/audit/x/../timeline", 200],
        ["/audit/../etc/passwd", 404],
        ["/audit/..%2f..%2fetc", 404],
        ["/audit/%2e%2e/timeline", 404],
        ["/audit%2ftimeline", 404],
        ["/audit/rows/invoices%2f1", 404],
        ["/audit/rows/a%2fb/1", 400],
        ["/audit/timeline%00", 400],
        ["/audit/timeline%0d%0aset-cookie:a=b", 400],
        ["/audit/timeline;jsessionid=1", 404],
        ["/audit/\\evil.test", 400],
        ["/audit/transactions/1/2/3/4", 404],
        ["/audit/exports/changes.csv/", 200],
        ["/audit/exports/changes.exe", 404]
      ] as const
      for (const [path] of paths) {
        const answer = yield* ask(path)
        toldFailures.push([path, answer.status])
        expect([path, answer.headers.get("location"), answer.headers.get("set-cookie")]).toStrictEqual([
          path,
          null,
          null
        ])
        expect(answer.headers.get("x-frame-options")).toBe("DENY")
        expect(answer.headers.get("cache-control")).toBe("no-store")
      }
      expect(toldFailures).toStrictEqual(paths)
      // A redirect stays under the prefix, whatever a form or a search says.
      const token = /name="token" value="([^"]+)"/.exec((yield* ask("/audit/timeline")).body)?.[1] ?? ""
      for (const back of [
        "//evil.test/audit",
        "/\\evil.test",
        "/audit/../evil",
        "https://evil.test/audit/",
        "javascript:alert(1)",
        "/auditor",
        "/audit/\r\nset-cookie: a=b",
        "/audit\t/x"
      ]) {
        const moved = yield* ask("/audit/theme", {
          method: "POST",
          body: new URLSearchParams({ token, theme: "dark\r\nx: y", back }),
          headers: { "sec-fetch-site": "same-origin" }
        })
        expect([back, moved.status, moved.headers.get("location")]).toStrictEqual([back, 303, "/audit/"])
        expect(moved.headers.get("set-cookie")).toMatch(/^threadline_theme=; Path=\/audit; .*Max-Age=0$/)
      }
      for (const q of ["//evil.test", "https://evil.test", "/\\evil.test 1", "on:2026-01-01", "\r\nset-cookie: a=b"]) {
        const searchPage = yield* ask(`/audit/?q=${encodeURIComponent(q)}`)
        expect([q, searchPage.headers.get("location") ?? "/audit/"]).toStrictEqual([
          q,
          expect.stringMatching(/^\/audit\//)
        ])
        expect(searchPage.headers.get("set-cookie")).toBeNull()
      }
      // A form that is too large is of nobody.
      const large = yield* ask("/audit/views/save", {
        method: "POST",
        body: new URLSearchParams({ token, name: "x", filter: "x".repeat(70_000) }),
        headers: { "sec-fetch-site": "same-origin" }
      })
      expect(large.status).toBe(413)
      for (const filter of [
        `contains=${encodeURIComponent(JSON.stringify({ a: "x".repeat(9000) }))}`,
        `action=${"x".repeat(257)}`,
        `${"table=a&".repeat(1200)}`,
        `contains=${encodeURIComponent(`{"a":`.repeat(800) + "1" + "}".repeat(800))}`
      ]) {
        expect((yield* ask(`/audit/timeline?${filter}`)).status).toSatisfy((status) => [200, 400, 404].includes(status))
      }

      // The log of the host has the reference that a page shows, and what the page was; the page has no more.
      const { handler } = yield* Effect.acquireRelease(
        Effect.map(services, (layer) =>
          OperatorSurface.toWebHandler(Layer.provideMerge(layer, logger), {
            authorize: () => ({ ...everything, scope: (_, columns) => columns.sql`no_such_column = 1` })
          })
        ),
        ({ dispose }) => Effect.promise(dispose)
      )
      const failed = yield* Effect.promise(async () => {
        const response = await handler(new Request("http://host.test/audit/timeline"))
        return { status: response.status, body: await response.text() }
      })
      const reference = /reference <code>([0-9a-f]{12})<\/code>/.exec(failed.body)?.[1] ?? ""
      expect([failed.status, failed.body.includes("no_such_column")]).toStrictEqual([500, false])
      expect(logged).toContainEqual([
        expect.arrayContaining([expect.stringContaining("a page of the operator surface failed")]),
        expect.arrayContaining([
          ["reference", reference],
          ["page", "Timeline"]
        ])
      ])
    })
  )

  it.scoped("says that the database is gone, and no more", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const { handler, release } = yield* Effect.scoped(
        Effect.gen(function* () {
          const sql = yield* database.connect("reader")
          yield* Effect.flatMap(SqlClient.SqlClient, (owner) =>
            owner.unsafe(
              `grant usage on schema threadline to public; grant select on all tables in schema threadline to public; grant execute on all functions in schema threadline to public`
            )
          )
          const { dispose, handler } = OperatorSurface.toWebHandler(
            Threadline.layer({ writer: Layer.succeed(SqlClient.SqlClient, sql) }),
            { authorize: () => everything }
          )
          const first = yield* Effect.promise(() => handler(new Request("http://host.test/audit/timeline")))
          expect(first.status).toBe(200)
          return { handler, release: dispose }
        })
      )
      yield* Effect.addFinalizer(() => Effect.promise(release))
      const response = yield* Effect.promise(() => handler(new Request("http://host.test/audit/timeline")))
      expect(response.status).toBe(503)
      const body = yield* Effect.promise(() => response.text())
      expect(textOf(body)).toContain("The database cannot be reached")
      expect(body).toMatch(/reference <code>[0-9a-f]{12}<\/code>/)
      expect(body).not.toContain("pool")
    })
  )

  it.scoped("says that the database is gone while its services are made, and is there when they are", () =>
    Effect.gen(function* () {
      const layer = yield* services
      let isGone = true
      let tried = 0
      const failures: Array<OperatorSurface.Failure> = []
      const { dispose, handler } = OperatorSurface.toWebHandler(
        Layer.unwrapEffect(
          Effect.suspend(() => {
            tried++
            return isGone ? Effect.fail(new Error("connect ECONNREFUSED secret.host")) : Effect.succeed(layer)
          })
        ),
        {
          authorize: (request) => (request.headers.has("x-staff") ? everything : undefined),
          onFailure: (failure) => failures.push(failure)
        }
      )
      yield* Effect.addFinalizer(() => Effect.promise(dispose))
      const ask = (path: string, headers: Readonly<Record<string, string>>) =>
        Effect.promise(async () => {
          const response = await handler(new Request(`http://host.test${path}`, { headers }))
          return { status: response.status, body: await response.text() }
        })
      const staff = { "x-staff": "7" }
      expect((yield* ask("/audit", {})).status).toBe(403)
      const gone = yield* ask("/audit/timeline", staff)
      expect([gone.status, textOf(gone.body)]).toStrictEqual([
        503,
        expect.stringContaining("The database cannot be reached")
      ])
      expect(gone.body).not.toContain("secret.host")
      expect(failures.map(({ page, reference }) => [page, gone.body.includes(reference)])).toStrictEqual([
        ["services", true]
      ])
      isGone = false
      const before = tried
      const both = yield* Effect.all([ask("/audit", staff), ask("/audit/timeline", staff)], { concurrency: 2 })
      expect(both.map(({ status }) => status)).toStrictEqual([200, 200])
      expect(tried - before).toBe(1)
    })
  )
})
