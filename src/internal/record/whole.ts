/** Whether a reader sees the whole record. Row-level security hides rows silently. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { refuseHidden } from "../sql/hidden.js"
import { legibleStorage } from "./legible.js"
import * as storage from "./storage.js"

const Hidden = Schema.Struct({ name: Schema.String })

/**
 * Fails if row-level security is active for the client's role on a table of the record. If the database does not answer, this
 * does not fail: the first read will.
 */
const checkWhole = (from: storage.Storage): Effect.Effect<void, ThreadlineError> =>
  storage
    .rows(
      Hidden,
      from.sql`
      select pg_catalog.format('%I.%I', n.nspname, c.relname) as name
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = ${from.schema}
        and c.relkind in ('r', 'p')
        and not c.relispartition
        and pg_catalog.row_security_active(c.oid)
      order by c.relname`
    )
    .pipe(
      Effect.catchAll(() => Effect.succeed([])),
      Effect.flatMap((hidden) =>
        refuseHidden(
          hidden.map(({ name }) => name),
          "and reads would not say so"
        )
      )
    )

/** What reads need of the database, once it is known that they see the whole record. */
export const wholeStorage = storage.make.pipe(Effect.tap(checkWhole), Effect.flatMap(legibleStorage))
