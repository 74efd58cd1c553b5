/** The refusal for a role from which row-level security may hide rows of the record. */
import * as Effect from "effect/Effect"
import { ThreadlineError } from "../../ThreadlineError.js"

/**
 * Fails if there are such tables: row-level security hides rows silently, and an answer from the rest would be wrong.
 * `consequence` is the part of the sentence that says what would be wrong.
 */
export const refuseHidden = (
  tables: ReadonlyArray<string>,
  consequence: string
): Effect.Effect<void, ThreadlineError> =>
  tables.length === 0
    ? Effect.void
    : Effect.fail(
        new ThreadlineError({
          reason: "RecordHidden",
          detail:
            `row-level security may hide rows of ${tables.join(", ")} from this role, ${consequence}: ` +
            "disable it on these tables, or let the role bypass it"
        })
      )
