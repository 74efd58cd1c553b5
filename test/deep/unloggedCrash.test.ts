/** A crash that the server itself survives empties unlogged tables: nothing is known of their rows since then. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Capture from "../../src/Capture.js"
import * as Migrations from "../../src/Migrations.js"
import * as Query from "../../src/Query.js"
import { clientOf } from "../harness/client.js"
import * as TestCluster from "../harness/TestCluster.js"
import { apply, finding, plan, run, status } from "../support/capture.js"
import { until } from "../support/until.js"

const names = ["quick", "kept", "parts", "later", "left_parts"]
const tables = names.map((table) => ({ table }))

const answers = Effect.forEach(names, (table) =>
  Effect.map(Query.asOf(table, 1, new Date(Date.now() + 60_000)), ({ _tag }) => `${table} ${_tag}`)
)

it.live("an unlogged table is a lapse since the server has recovered from a crash", () =>
  Effect.gen(function* () {
    const cluster = yield* TestCluster.make()
    const inDatabase = Layer.merge(Capture.layer, Query.layer).pipe(Layer.provideMerge(clientOf(cluster.url)))
    yield* Effect.gen(function* () {
      yield* Migrations.run()
      yield* run(
        "create unlogged table quick (id int primary key)",
        "create table kept (id int primary key)",
        "create table parts (id int primary key) partition by list (id)",
        "create unlogged table parts_1 partition of parts for values in (1)",
        "create unlogged table later (id int primary key)",
        "create table left_parts (id int primary key) partition by list (id)",
        "create unlogged table left_1 partition of left_parts for values in (1)"
      )
      const steps = yield* apply(tables)
      expect(steps.map(({ summary }) => summary).filter((summary) => summary.includes("unlogged"))).toEqual([
        expect.stringContaining("unlogged, so that a crash empties it: public.quick"),
        expect.stringContaining("unlogged, so that a crash empties it: public.parts_1"),
        expect.stringContaining("unlogged, so that a crash empties it: public.later"),
        expect.stringContaining("unlogged, so that a crash empties it: public.left_1")
      ])
      yield* run(...names.map((name) => `insert into ${name} values (1)`))
      expect(yield* answers).toEqual(names.map((name) => `${name} Present`))
      expect(finding(yield* status(tables), "TableUnlogged")?.severity).toBe("warning")
    }).pipe(Effect.provide(inDatabase))

    // A backend dies, the server ends all others and recovers, and never was away. Until it has ended the others, it knows of nothing.
    const victim = yield* cluster.rawClient()
    victim.on("error", () => undefined)
    const witness = yield* cluster.rawClient()
    const ended = new Promise<void>((resolve) => witness.once("end", () => resolve()))
    const { rows } = yield* Effect.promise(() => victim.query<{ pid: number }>("select pg_backend_pid() as pid"))
    process.kill(rows[0]?.pid ?? 0, "SIGKILL")
    yield* Effect.promise(() => ended)
    yield* until("the server has recovered", Effect.isSuccess(Effect.scoped(cluster.rawClient())))

    const known = names.map((name) => `${name} ${name === "kept" ? "Present" : "BeforeCapture"}`)
    yield* Effect.gen(function* () {
      // What a table is by now does not tell what it was when the server crashed.
      yield* run("alter table later set logged", "alter table left_parts detach partition left_1")
      expect(yield* answers).toEqual(known)
      expect(finding(yield* status(tables), "TableUnlogged")).toMatchObject({ severity: "error", restarted: true })
      expect((yield* plan(tables)).map((step) => `${step.table} ${"lapse" in step && step.lapse}`).sort()).toEqual([
        "public.later true",
        "public.left_parts false",
        "public.left_parts true",
        "public.parts true",
        "public.quick true"
      ])
      yield* apply(tables)
      yield* run("insert into quick values (2)")
      expect(yield* answers).toEqual(known)
      expect((yield* Query.asOf("quick", 2, new Date(Date.now() + 60_000)))._tag).toBe("Present")
      expect(finding(yield* status(tables), "TableUnlogged")?.severity).toBe("warning")
      expect(yield* plan(tables)).toEqual([])
    }).pipe(Effect.provide(inDatabase))
  }).pipe(Effect.scoped)
)
