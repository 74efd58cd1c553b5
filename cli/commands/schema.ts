import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Json from "../../src/Json.js"
import * as Query from "../../src/Query.js"
import { eventTable } from "../describeEvents.js"
import { choice, common, value } from "../options.js"
import { answerExact } from "../output.js"
import { leaf } from "../parser/declare.js"
import { listed, paging, pagingOf, reading } from "../reading.js"
import { window, windowOf } from "../window.js"

export const events = leaf(
  "schema events",
  {
    ...common,
    table: value("table", "TABLE", "Only events of this table, also under its former names."),
    effect: choice("effect", Query.SchemaEffect.literals, "Only those of this effect."),
    ...window,
    ...paging
  },
  (options) =>
    Effect.gen(function* () {
      const filter = {
        table: Option.getOrUndefined(options.table),
        effect: Option.getOrUndefined(options.effect),
        ...(yield* windowOf(options)),
        ...(yield* pagingOf(options))
      }
      const page = yield* reading(options, Query.schemaEvents(filter))
      yield* answerExact(
        options,
        () => Json.stringify(page),
        (width) =>
          listed(
            page,
            "No event of the schema is recorded; capture status says whether the schema watch is on.",
            () => [eventTable(page.items, width)]
          )
      )
    })
)
