/** What health says where nothing can be written: on a hot standby. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Health from "../../src/Health.js"
import { clientOf } from "../harness/client.js"
import * as Standby from "../harness/standby.js"
import * as TestCluster from "../harness/TestCluster.js"
import { makeApp } from "../support/server.js"

describe("health on a standby", () => {
  it.scopedLive("reports what its primary does, and says of the canary that nothing is written there", () =>
    Effect.gen(function* () {
      const cluster = yield* TestCluster.make()
      const tables = ["posts", "notes"]
      const statements = tables.flatMap((table) => [
        `create table ${table} (id int primary key, title text)`,
        `insert into ${table} values (1, 'a')`
      ])
      yield* makeApp(cluster, statements, tables)
      const standby = yield* Standby.make(cluster)
      yield* standby.caughtUp
      const asked = Effect.all([Health.report({ expected: ["posts", "missing"] }), Health.canary])
      const on = (url: string) => Effect.provide(asked, Layer.provide(Health.layer, clientOf(url)))
      const [report, tried] = yield* on(cluster.urlOf("app"))
      const [reportThere, triedThere] = yield* on(standby.urlOf("app"))
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
