/** The page of one row, whose life had everything that a life can have. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Query from "../../../src/Query.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { everything, lived, pages, services, textOf } from "../../support/operator.js"

it.layer(TestDatabase.layer)("the page of a row", (it) => {
  it.scoped("shows relations, baselines, lapses, schema events and the boundary of retention as what they are", () =>
    Effect.gen(function* () {
      const { removed } = yield* lived
      expect(removed).toBe(3)
      const ask = yield* pages({
        authorize: () => everything,
        relations: { visits: { patient: { table: "patients", columns: { id: "patient_id" } } } }
      })
      const { body, status } = yield* ask("/audit/rows/visits/1")
      const text = textOf(body)
      expect(status).toBe(200)

      // The row as it stood has the order of the table, and so has each change.
      const fields = (html: string) => [...html.matchAll(/<dt>(\w+)<\/dt>/g)].map(([, field]) => field)
      const [stood = "", history = ""] = body.split('class="change')
      expect(fields(stood)).toStrictEqual(["zone", "id", "patient_id", "bed", "note"])
      expect(fields(history)).toStrictEqual(["bed", "note"])
      expect(text).toMatch(/patients 7\s*id 7 · name Ines/)
      expect(text).toContain("Formerly public.stays until")

      // What each mark of the rail is, and where it leads.
      const rail = /data-rail.*?<\/nav>/s.exec(body)?.[0] ?? ""
      const marks = [...rail.matchAll(/<li class="(\w+)(?: here)?"/g)].map(([, kind]) => kind)
      expect(marks).toContain("lapse")
      expect(marks).toContain("baseline")
      expect(marks.filter((kind) => kind === "schema").length).toBeGreaterThanOrEqual(2)
      expect(marks.filter((kind) => kind === "update").length).toBe(2)
      expect(rail).toMatch(/title="not captured from \d+ \w+ \d+ [\d:.]+ UTC to \d+ \w+ \d+ [\d:.]+ UTC"/)
      expect(text).toContain("As capture found the row. Nothing was changed.")
      expect(text).toMatch(/public\.stays became public\.visits/)
      expect(text).toContain("nothing is known")
      expect(text).toContain("as stays")
      const at = /<li class="baseline"><a href="([^"]+)"/.exec(rail)?.[1]?.replaceAll("&amp;", "&") ?? ""
      expect(textOf((yield* ask(at)).body)).toMatch(/bed\s*a/)

      // Of one row the beginning is gone, of another everything: the pages say up to when.
      const { keptSince, unknown } = yield* Effect.provide(Query.knowledge("visits"), yield* services)
      expect(keptSince).toMatch(/^\d{4}-\d\d-\d\dT/)
      expect(unknown.length).toBeGreaterThanOrEqual(2)
      const partly = yield* ask("/audit/rows/visits/3")
      expect(partly.status).toBe(200)
      expect(textOf(partly.body)).toContain("Retention has removed changes to visits from before")
      expect(partly.body).toContain(`datetime="${keptSince}"`)
      const gone = yield* ask("/audit/rows/visits/2")
      expect(gone.status).toBe(404)
      expect(textOf(gone.body)).toContain("No change of this row is kept")
      expect(gone.body).toContain(`datetime="${keptSince}"`)
      // A row that never was has the same page: it cannot be told apart, and is not.
      const never = yield* ask("/audit/rows/visits/4")
      expect(textOf(never.body).replaceAll(/\b4/g, "2")).toBe(textOf(gone.body))
      // Nothing was removed of this table.
      expect(textOf((yield* ask("/audit/rows/patients/9")).body)).toContain("No change of this row")
      expect((yield* Effect.provide(Query.knowledge("patients"), yield* services)).keptSince).toBeNull()
    })
  )
})
