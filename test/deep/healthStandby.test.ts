/** What health says where nothing can be written: on a hot standby. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Capture from "../../src/Capture.js"
import * as Health from "../../src/Health.js"
import * as Migrations from "../../src/Migrations.js"
import * as Standby from "../harness/standby.js"
import * as TestCluster from "../harness/TestCluster.js"
import { sessionOf } from "../support/adversarial.js"

const clientOf = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })

describe("health on a standby", () => {
  it.scopedLive("reports what its primary does, and says of the canary that nothing is written there", () =>
    Effect.gen(function* () {
      const cluster = yield* TestCluster.make()
      yield* Effect.flatMap(cluster.rawClient(), (client) => sessionOf(client).run("create database app"))
      const primary = clientOf(cluster.urlOf("app"))
      yield* Effect.flatMap(cluster.rawClient("app"), (client) =>
        sessionOf(client).run(
          "create table posts (id int primary key, title text)",
          "create table notes (id int primary key, title text)",
          "insert into posts values (1, 'a')",
          "insert into notes values (1, 'a')"
        )
      )
      yield* Effect.zipRight(Migrations.run(), Capture.apply([{ table: "posts" }, { table: "notes" }])).pipe(
        Effect.provide(Layer.provideMerge(Capture.layer, primary))
      )
      const standby = yield* Standby.make(cluster)
      yield* standby.caughtUp
      const asked = Effect.all([Health.report({ expected: ["posts", "missing"] }), Health.canary])
      const on = (client: typeof primary) => Effect.provide(asked, Layer.provide(Health.layer, client))
      const [report, tried] = yield* on(primary)
      const [reportThere, triedThere] = yield* on(clientOf(standby.urlOf("app")))
      expect(tried.map(({ outcome }) => outcome)).toEqual(["recorded", "recorded"])
      expect(triedThere).toMatchObject([
        { table: "public.notes", outcome: "unknown", why: "standby" },
        { table: "public.posts", outcome: "unknown", why: "standby" }
      ])
      expect(Health.canaryFindings(triedThere).map(({ message }) => message)).toEqual([
        "a write of public.notes could not be tried: the server is a standby, which writes nothing",
        "a write of public.posts could not be tried: the server is a standby, which writes nothing"
      ])
      expect(reportThere.tables).toEqual(report.tables)
      expect(reportThere.findings.map(({ code, object }) => [code, object])).toEqual(
        report.findings.map(({ code, object }) => [code, object])
      )
    })
  )
})
