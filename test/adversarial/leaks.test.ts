/** What is excluded or masked leaves by no door: exports, pages, documents, jobs, views, logs, spans, errors. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { inspect } from "node:util"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as Capture from "../../src/Capture.js"
import * as Continuity from "../../src/Continuity.js"
import * as Evidence from "../../src/Evidence.js"
import * as Export from "../../src/Export.js"
import * as ExportJobs from "../../src/ExportJobs.js"
import * as ExportStore from "../../src/ExportStore.js"
import * as Feed from "../../src/Feed.js"
import * as Health from "../../src/Health.js"
import * as Json from "../../src/Json.js"
import * as Query from "../../src/Query.js"
import * as Retention from "../../src/Retention.js"
import * as SavedViews from "../../src/SavedViews.js"
import * as Threadline from "../../src/Threadline.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { rows, run } from "../support/capture.js"
import { bytesOf, textOf } from "../support/export.js"
import * as operator from "../support/operator.js"

/** The files of jobs, by name. */
const files = new Map<string, Buffer>()

const store: ExportStore.Service = {
  write: (name, bytes) => Effect.map(bytesOf(bytes), (content) => void files.set(name, content)),
  read: (name) => Stream.fromIterable(files.has(name) ? [files.get(name) ?? Buffer.alloc(0)] : []),
  remove: (name) => Effect.sync(() => void files.delete(name))
}

const services = Layer.unwrapEffect(
  Effect.map(SqlClient.SqlClient, (sql) => Threadline.layer({ writer: Layer.succeed(SqlClient.SqlClient, sql) }))
).pipe(Layer.provide(Layer.succeed(ExportStore.ExportStore, store)), Layer.provideMerge(TestDatabase.layer))

/** Each has a word of its own, so that a leak says whose it is. */
const secrets = {
  excluded: "hushexcluded",
  masked: "hushmasked@example.com",
  last4: "DE00hushlast1234",
  hash: "+49-hushhash",
  null: "1815-12-10",
  excludedPath: "hushpathexcluded",
  maskedPath: "hushpathmasked",
  last4Path: "4111hushpathlast4242"
}

const leaks = (text: string): ReadonlyArray<string> =>
  ["hush", secrets.null].flatMap((secret) => {
    const place = text.indexOf(secret)
    return place < 0 ? [] : [text.slice(Math.max(0, place - 120), place + 40)]
  })

const values = (id: number) => `(
  ${id}, 'Ada', '${secrets.excluded}', '${secrets.masked}', '${secrets.last4}', '${secrets.hash}', '${secrets.null}',
  '{"theme": "dark", "token": "${secrets.excludedPath}", "pin": "${secrets.maskedPath}", "cards": [{"number": "${secrets.last4Path}"}]}'
)`

layer(services, { excludeTestServices: true })("redacted values", (it) => {
  it.scoped("leave by no door", () =>
    Effect.gen(function* () {
      const heard: Array<string> = []
      const native = yield* Effect.tracer
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (...args) => {
          const span = native.span(...args)
          spans.push(span)
          const event = span.event.bind(span)
          span.event = (...event_) => {
            heard.push(
              JSON.stringify(event_, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value))
            )
            event(...event_)
          }
          return span
        },
        context: (f, fiber) => native.context(f, fiber)
      })
      const logger = Logger.make((entry) => {
        heard.push(Logger.logfmtLogger.log(entry))
      })
      const said: Array<readonly [door: string, text: string]> = []
      const say = (door: string, what: unknown) => {
        said.push([door, typeof what === "string" ? what : Json.stringify(what as never)])
      }
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* run(
          `create table people (id int primary key, name text, password text, email text unique, iban text, phone text, born date,
            settings jsonb, constraint named check (name <> 'refused'), unique (iban) deferrable initially deferred)`,
          `create function tattle() returns trigger language plpgsql as $$
           begin
             if new.name = 'tattle' then
               raise exception 'the address % is taken', new.email using detail = new.password, hint = new.iban;
             end if;
             return new;
           end $$`,
          `create constraint trigger tattle after update on people deferrable initially deferred
           for each row execute function tattle()`,
          `insert into people values ${values(1)}`
        )
        yield* Capture.apply([
          {
            table: "people",
            exclude: ["password", "settings.token"],
            mask: [
              "email",
              { column: "iban", as: "last4" },
              { column: "phone", as: "hash" },
              { column: "born", as: "null" },
              "settings.pin",
              { column: "settings", path: ["cards", "number"], as: "last4" }
            ]
          }
        ])
        yield* Continuity.baseline({ tables: ["people"] })
        const actor = Actor.user("42")
        const written = yield* Audit.transaction(
          sql.unsafe(
            `update people set name = 'Bea', settings = settings || '{"theme": 1, "pin": "${secrets.maskedPath}2"}'`
          ),
          { action: "person.renamed", actor }
        )
        // Errors of the host's own statements repeat values. Nothing of them may be kept, logged or put into a span by us, or be in an error
        // of ours.
        for (const [reason, statement] of [
          [undefined, `insert into people values ${values(2)}`],
          [undefined, `update people set name = 'refused', phone = 'hush'`],
          [undefined, `update people set born = 'hush'`],
          ["CommitFailed", `insert into people values ${values(3).replace(secrets.masked, "hushother")}`],
          ["CommitFailed", `update people set name = 'tattle'`]
        ] as const) {
          const told = Effect.asVoid(Audit.transaction(sql.unsafe(statement), { action: "person.failed", actor }))
          const swallowed = Effect.asVoid(
            Audit.transaction(Effect.ignore(sql.unsafe(statement)), { action: "person.failed", actor })
          )
          const scope = Effect.flatMap(Audit.scoped({ action: "person.failed", actor }), ({ commit, run }) =>
            Effect.zipRight(run(sql.unsafe(statement)), commit)
          )
          for (const call of [told, swallowed, Effect.scoped(scope)]) {
            const error = yield* Effect.flip(call)
            expect(error).toMatchObject(
              reason !== undefined
                ? { reason }
                : call === swallowed
                  ? { reason: "TransactionAborted" }
                  : { _tag: "SqlError" }
            )
            if (Audit.AuditError.is(error)) {
              say(`error of ${statement}`, `${inspect(error, { depth: 20 })} ${JSON.stringify(error)}`)
              yield* Effect.logError("an audited call failed", Cause.fail(error))
            }
          }
          yield* Audit.record("person.failed", { status: "error", actor })
        }
        yield* sql.unsafe("delete from people where id = 1")
        yield* sql.unsafe(`insert into people values ${values(1)}`)
        const id = yield* Effect.orDie(written.transactionId)

        say("timeline", (yield* Query.timeline({ table: "people" })).items)
        say("history", (yield* Query.history("people", 1)).items)
        say("as-of", yield* Query.asOf("people", 1, new Date()))
        say("actions", (yield* Query.actions()).items)
        say("incident", yield* Query.incident(id))
        say("health", yield* Health.report())
        say("canary", yield* Health.canary)
        say("policies", yield* Health.policies())
        say("feed", yield* Feed.read())
        for (const format of ["csv", "ndjson", "json", "parquet"] as const) {
          say(`export ${format}`, (yield* bytesOf(Export.stream({ format, requestedBy: actor }))).toString("latin1"))
        }
        for (const shape of ["ocsf", "cloudevents", "debezium"] as const) {
          say(`export ${shape}`, yield* textOf({ format: "ndjson", shape, requestedBy: actor }))
        }
        const jobs = yield* ExportJobs.ExportJobs
        for (const format of ["csv", "parquet"] as const) {
          yield* jobs.queue({ format, requestedBy: actor, filter: { table: "people" } })
        }
        expect(yield* jobs.run()).toMatchObject({ completed: 2 })
        say("jobs", yield* jobs.list())
        expect(files.size).toBe(2)
        for (const [name, bytes] of files) {
          expect(bytes.toString("latin1")).toContain("Ada")
          say(`file ${name}`, bytes.toString("latin1"))
        }
        yield* SavedViews.save({ owner: actor, name: "people", filter: { table: "people" } })
        const policy = { keep: "365 days", holds: [{ table: "people", key: "1", reason: "case" }] } as const
        yield* Retention.purge(yield* Retention.plan(policy))
        for (const subject of Evidence.subjects) {
          yield* Evidence.derive(subject, { reference: "production", policy })
        }
        const proof = yield* Evidence.proof({ from: "2026-01-01", to: "2999-01-01" })
        say("proof", proof)
        say("proof page", Evidence.toHtml(proof))
        const get = yield* operator.pages()
        for (const path of [
          "",
          "/timeline?table=people",
          `/transactions/${id}`,
          "/rows/public.people/1",
          "/actors/user/42",
          "/coverage",
          "/policy/redaction",
          "/policy/retention",
          "/evidence",
          "/exports"
        ]) {
          const { body, status } = yield* get(`/audit${path}`)
          expect([path, status]).toEqual([path, 200])
          say(`page ${path}`, body)
        }
      }).pipe(
        Effect.withTracer(tracer),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger)),
        Logger.withMinimumLogLevel(LogLevel.All),
        Effect.withClock(Clock.make())
      )
      // Spans of the client have statements of the host, and those are the client's own.
      for (const span of spans.filter(({ name }) => name.startsWith("threadline."))) {
        heard.push(
          JSON.stringify([...span.attributes], (_, value: unknown) =>
            typeof value === "bigint" ? String(value) : value
          ),
          inspect(span.status, { depth: 20 })
        )
      }
      say("logs and spans", heard.join("\n"))
      // Every table of the schema of the record, but the keys of masks, as text.
      for (const { name } of yield* rows(
        `select c.oid::regclass::text as name
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'threadline' and c.relkind = 'r' and c.relname <> 'mask_keys'`
      )) {
        say(String(name), JSON.stringify(yield* rows(`select to_jsonb(t)::text as row from ${String(name)} t`)))
      }
      // The doors were open: what is not redacted came through them.
      const open = said.filter(([, text]) => text.includes("Ada") || text.includes("Bea")).map(([door]) => door)
      expect(open).toEqual(
        expect.arrayContaining(["timeline", "export csv", "export debezium", "page /rows/public.people/1"])
      )
      expect(said.flatMap(([door, text]) => leaks(text).map((leak) => [door, leak]))).toEqual([])
    })
  )
})
