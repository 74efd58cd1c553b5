/**
 * What the end of an audited call says to the SQL function `finish`, for Effect and for other clients.
 *
 * @internal
 */

/** The document of `finish`. `action` is the text of an action's document. */
export const finishDocument = (action: string | undefined, requireChanges: boolean, part: boolean): string =>
  `{${[
    ...(action === undefined ? [] : [`"action":${action}`]),
    ...(requireChanges ? [`"requireChanges":true`] : []),
    ...(part ? [`"part":true`] : [])
  ].join(",")}}`

/**
 * Whether the context is still the one that was set in the running transaction. It is not if the body ended the transaction, or
 * if it said RESET ALL: what it wrote since has no actor, and an action would have none.
 */
export const isContextKept =
  "pg_catalog.starts_with(pg_catalog.current_setting('threadline.context', true), " +
  "extract(epoch from pg_catalog.transaction_timestamp())::text || ' ')"

/** Asks `finish` to end a part. Where none is open it refuses with TL004, which every client reports. */
export const refused = finishDocument(undefined, false, true)

/** What `EndedByBody` says. */
export const endedByBody =
  "the body ended the audited transaction, or its context, with a COMMIT, ROLLBACK or RESET ALL of its own"
