/** Links that reopen what was seen, and files of export jobs. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, it, vi } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ExportJobs from "../../../src/ExportJobs.js"
import * as ExportStore from "../../../src/ExportStore.js"
import * as Actor from "../../../src/Actor.js"
import * as Capture from "../../../src/Capture.js"
import * as Audit from "../../../src/Audit.js"
import * as OperatorSurface from "../../../src/OperatorSurface.js"
import * as Threadline from "../../../src/Threadline.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { everything, pages, seed, services, textOf } from "../../support/operator.js"
import { scratch } from "../../support/scratch.js"

const exactly = "This is exactly what was seen when it was linked."

const linkOf = (body: string): string => /href="([^"]+seen=[^"]+)"/.exec(body)?.[1]?.replaceAll("&amp;", "&") ?? ""

const idsOf = (body: string) => [...body.matchAll(/<article class="change[^"]*" id="(\w+)"/g)].map(([, id]) => id)

it.layer(TestDatabase.layer)("a link to exactly this", (it) => {
  it.scoped("shows a transaction and a row as they were seen, whatever was written since", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const { refunded } = yield* seed
      const ask = yield* pages()
      const [transaction, row] = [
        yield* ask(`/audit/transactions/${refunded}`),
        yield* ask("/audit/rows/public.invoices/2041")
      ]
      const links = [linkOf(transaction.body), linkOf(row.body)]
      const seen = [idsOf(transaction.body), idsOf(row.body)]

      // The same correlation goes on, and so does the row: further than a page.
      yield* Audit.transaction(sql`insert into members values ('acme', 9, 'guest')`, {
        action: "member.added",
        actor: Actor.user("42"),
        correlationId: "req-9f2c"
      }).pipe(Effect.provide(yield* services))
      for (let n = 0; n < 60; n++) {
        yield* sql`update invoices set note = ${`later ${n}`} where id = 2041`
      }
      expect(textOf((yield* ask(`/audit/transactions/${refunded}`)).body)).toContain("member.added")
      expect(idsOf((yield* ask("/audit/rows/public.invoices/2041")).body)).not.toContain(seen[1]?.at(-1))

      for (const [index, link] of links.entries()) {
        const again = yield* ask(link)
        expect([link, again.status]).toStrictEqual([link, 200])
        expect(textOf(again.body)).toContain(exactly)
        expect(textOf(again.body)).not.toMatch(/member\.added|later \d/)
        expect(idsOf(again.body)).toStrictEqual(seen[index])
        // It links to itself, and so do the marks of the row.
        expect(linkOf(again.body)).toBe(link)
        // What was removed since, or is seen under another scope, is told.
        expect(textOf((yield* ask(link.replace(/seen=[^&]+/, "seen=1.000000000000"))).body)).toContain("not quite")
        expect((yield* ask(link.replace(/until=[^&]+/, "until=yesterday"))).status).toBe(400)
      }
      const inside = /data-rail.*?href="([^"]+)"/s
        .exec((yield* ask(links[1] ?? "")).body)?.[1]
        ?.replaceAll("&amp;", "&")
      expect(textOf((yield* ask(inside ?? "")).body)).not.toMatch(/later \d/)

      // So does a page further on, one at an instant far back, one of fewer items, and the list.
      yield* sql.unsafe(
        `create table wide (id int primary key, ${Array.from({ length: 58 }, (_, n) => `column_${n} text default 'the value of this column'`).join(", ")})`
      )
      yield* Capture.apply([{ table: "wide" }]).pipe(Effect.provide(yield* services))
      const bulk = yield* Audit.transaction(sql`insert into wide (id) select generate_series(1, 90)`, {
        action: "bulk.import",
        actor: Actor.user("42")
      }).pipe(
        Effect.flatMap(({ transactionId }) => transactionId),
        Effect.provide(yield* services)
      )
      const followed = (body: string) => /href="([^"]+)" rel="next"/.exec(body)?.[1]?.replaceAll("&amp;", "&") ?? ""
      const middle = /<time datetime="([^"]+)"/.exec(
        [...(yield* ask(links[1] ?? "")).body.matchAll(/<article.*?<\/article>/gs)].at(-1)?.[0] ?? ""
      )?.[1]
      const places = [
        followed((yield* ask("/audit/rows/public.invoices/2041")).body),
        `/audit/rows/public.invoices/2041?at=${encodeURIComponent(middle ?? "")}`,
        `/audit/transactions/${bulk}`,
        followed((yield* ask(`/audit/transactions/${bulk}`)).body),
        "/audit/timeline?table=invoices",
        followed((yield* ask("/audit/timeline?table=invoices")).body),
        followed((yield* ask("/audit/timeline?table=invoices&order=oldest&since=all&limit=60")).body),
        "/audit/timeline?table=wide"
      ]
      const shownBy = (body: string) => [...body.matchAll(/<(?:article|tr)[^>]* id="(\w+)"/g)].map(([, id]) => id)
      const before = yield* Effect.forEach(places, (place) => ask(place))
      for (let n = 0; n < 8; n++) {
        yield* sql`update invoices set note = ${`much later ${n}`} where id = 2041`
        yield* sql`update wide set column_1 = ${`much later ${n}`} where id < 4`
      }
      for (const [index, page] of before.entries()) {
        const at = places[index]
        expect([at, page.status, shownBy(page.body).length > 0]).toStrictEqual([at, 200, true])
        const again = yield* ask(linkOf(page.body))
        expect([at, shownBy(again.body)]).toStrictEqual([at, shownBy(page.body)])
        expect([at, textOf(again.body).includes(exactly)]).toStrictEqual([at, true])
        expect([at, linkOf(again.body)]).toStrictEqual([at, linkOf(page.body)])
        expect(Buffer.byteLength(again.body)).toBeLessThanOrEqual(60 * 1024)
      }
      for (const limit of ["0", "-1", "1.5", "many", "99999999"]) {
        expect((yield* ask(`/audit/transactions/${bulk}?limit=${limit}`)).status).toBe(400)
        expect((yield* ask(`/audit/rows/public.invoices/2041?limit=${limit}`)).status).toBe(400)
      }
      // What a list is exported as ends where the list does.
      const file = /href="([^"]*changes\.csv[^"]*)"/.exec(before[4]?.body ?? "")?.[1]?.replaceAll("&amp;", "&") ?? ""
      expect((yield* ask(file)).body).not.toContain("much later")

      // An instant far back has what led to it, and the next changes after it.
      const opened = /datetime="([^"]+)"/.exec(/<article.*?<\/article>/s.exec(transaction.body)?.[0] ?? "")?.[1] ?? ""
      const back = yield* ask(`/audit/rows/public.invoices/2041?at=${encodeURIComponent(opened)}`)
      expect(idsOf(back.body)).toContain(seen[1]?.at(-1))
      expect(textOf(back.body)).toContain("shown beside")
      expect(textOf(back.body)).toMatch(/later \d/)
    })
  )
})

/** Pages with a store for the files of jobs. */
const pagesWithJobs = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const directory = yield* scratch()
  const layer = Threadline.layer({
    writer: Layer.succeed(SqlClient.SqlClient, sql),
    exports: { store: ExportStore.layerDirectory(directory) }
  })
  const { handler } = yield* Effect.acquireRelease(
    // Enough that no page does without something because the machine is busy.
    Effect.sync(() => OperatorSurface.toWebHandler(layer, { authorize: () => everything, timeout: "2 minutes" })),
    ({ dispose }) => Effect.promise(dispose)
  )
  const ask = (path: string, init?: RequestInit) =>
    Effect.promise(async () => {
      const response = await handler(new Request(`http://host.test/audit${path}`, init))
      return { status: response.status, headers: response.headers, body: await response.text() }
    })
  const token = /name="token" value="([^"]+)"/.exec((yield* ask("/exports")).body)?.[1] ?? ""
  const post = (act: string, fields: Record<string, string>) =>
    ask(`/exports/${act}`, {
      method: "POST",
      body: new URLSearchParams({ token, ...fields }),
      headers: { "sec-fetch-site": "same-origin" }
    })
  return { ask, layer, post }
})

it.layer(TestDatabase.layer)("the page of exports", (it) => {
  it.scoped("downloads the file of a job, runs one again, and says that a file is gone", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* seed
      const { ask, layer, post } = yield* pagesWithJobs
      const run = Effect.withClock(Effect.provide(ExportJobs.run(), layer), Clock.make())

      yield* post("queue", { format: "csv", filter: "table:members" })
      yield* run
      const [id = ""] = /(?<=id="job-)\d+/.exec((yield* ask("/exports")).body) ?? []
      const file = yield* ask(`/exports/${id}/download`)
      expect(file.status).toBe(200)
      expect(file.headers.get("content-type")).toContain("text/csv")
      expect(file.headers.get("content-disposition")).toMatch(/^attachment; filename="[\w.-]+"$/)
      expect(file.headers.get("content-security-policy")).toContain("default-src 'none'")
      expect(file.body).toContain("owner")
      // The file stays what it was.
      yield* sql`insert into members values ('acme', 10, 'later')`
      expect((yield* ask(`/exports/${id}/download`)).body).toBe(file.body)

      // One that was cancelled is run again, and one that is not finished has no file.
      yield* post("queue", { format: "ndjson", filter: "op:insert" })
      const [second = ""] = /(?<=id="job-)\d+/.exec((yield* ask("/exports")).body) ?? []
      expect((yield* ask(`/exports/${second}/download`)).status).toBe(409)
      yield* post("cancel", { id: second })
      expect(textOf((yield* ask("/exports")).body)).toContain("Try again")
      expect((yield* post("retry", { id: second })).status).toBe(303)
      yield* run
      expect((yield* ask(`/exports/${second}/download`)).body).toContain('"op":"insert"')
      expect((yield* post("retry", { id: second })).status).toBe(409)

      // Its time is over.
      yield* sql`update threadline.export_jobs set expires_at = now() - interval '1 minute' where id = ${id}`
      yield* Effect.withClock(Effect.provide(ExportJobs.expire, layer), Clock.make())
      const gone = yield* ask(`/exports/${id}/download`)
      expect([gone.status, textOf(gone.body).includes("Queue it again")]).toStrictEqual([410, true])
    })
  )
})

it.layer(TestDatabase.layer)("the page of exports, with its forms and links,", (it) => {
  it.scoped("offers every kind of file, to be queued and read at once", () =>
    Effect.gen(function* () {
      yield* seed
      const { ask, post } = yield* pagesWithJobs
      const offered = [...(yield* ask("/exports")).body.matchAll(/<option value="([^"]+)">([^<]+)</g)]
      expect(offered.map(([, kind]) => kind)).toEqual([
        "csv",
        "people.csv",
        "json",
        "ndjson",
        "parquet",
        "ocsf.ndjson",
        "cloudevents.ndjson",
        "debezium.ndjson"
      ])
      const file = (kind: string) => ask(`/exports/changes.${kind}?since=all&table=members`)
      for (const [, kind = "", label = ""] of offered) {
        expect((yield* post("queue", { format: kind, filter: "op:insert" })).status).toBe(303)
        // The newest job stands first, under the name that was chosen.
        const [, named] = /id="job-\d+".*?<th scope="row">([^<]+?) <a/s.exec((yield* ask("/exports")).body) ?? []
        expect(named).toBe(label)
        const { headers, status } = yield* file(kind)
        expect([status, headers.get("content-disposition")]).toStrictEqual([
          200,
          `attachment; filename="changes.${kind}"`
        ])
      }
      // The newest of them stand on the start page, and a list hands its filter to the form.
      const start = (yield* ask("/")).body
      expect([...start.matchAll(/href="\/audit\/exports#job-(\d+)"/g)]).toHaveLength(4)
      const later = /href="([^"]*\/exports\?filter=[^"]*)"/.exec(
        (yield* ask("/timeline?table=members&op=insert&since=all")).body
      )
      const form = (yield* ask((later?.[1] ?? "").replaceAll("&amp;", "&").replace("/audit", ""))).body
      expect(/name="filter" value="([^"]*)"/.exec(form)?.[1]).toMatch(/^table:members op:insert before:\S+$/)
      const first = (kind: string) => Effect.map(file(kind), ({ body }) => body.split(/\r?\n/)[0] ?? "")
      expect(yield* first("people.csv")).toBe("at,who,what,row,field,before,after")
      expect(JSON.parse(yield* first("cloudevents.ndjson"))).toHaveProperty("specversion", "1.0")
      expect(JSON.parse(yield* first("debezium.ndjson"))).toHaveProperty("op", "c")
      expect(yield* first("parquet")).toMatch(/^PAR1/)
    })
  )

  it.scoped("offers no Parquet if its package is not installed", () =>
    Effect.gen(function* () {
      yield* Effect.acquireRelease(
        Effect.sync(() => vi.doMock("hyparquet-writer", () => Promise.reject(new Error("Cannot find package")))),
        () => Effect.sync(() => vi.doUnmock("hyparquet-writer"))
      )
      const { ask, post } = yield* pagesWithJobs
      for (const path of ["/exports", "/timeline?since=all"]) {
        const { body, status } = yield* ask(path)
        expect([path, status, body.includes("CSV for people"), />Parquet<\/(?:option|a)>/.test(body)]).toStrictEqual([
          path,
          200,
          true,
          false
        ])
      }
      expect((yield* post("queue", { format: "parquet" })).status).toBe(400)
      expect((yield* ask("/exports/changes.parquet?since=all")).status).toBe(501)
    })
  )
})
