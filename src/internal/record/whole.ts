/** Whether a reader sees the whole record. Row-level security hides rows silently. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ThreadlineError } from "../../ThreadlineError.js"
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
      select c.relname as name
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = ${from.schema}
        and c.relkind in ('r', 'p')
        and not c.relispartition
        and row_security_active(c.oid)
      order by c.relname`
    )
    .pipe(
      Effect.catchAll(() => Effect.succeed([])),
      Effect.flatMap((hidden) =>
        hidden.length === 0
          ? Effect.void
          : Effect.fail(
              new ThreadlineError({
                reason: "RecordHidden",
                detail:
                  `row-level security may hide rows of ${hidden.map(({ name }) => name).join(", ")} in the schema ${from.schema} ` +
                  "from this role, and reads would not say so: disable it on these tables, or let the role bypass it"
              })
            )
      )
    )

/** What reads need of the database, once it is known that they see the whole record. */
export const wholeStorage = storage.make.pipe(Effect.tap(checkWhole), Effect.flatMap(legibleStorage))
