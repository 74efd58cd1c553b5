/**
 * What the end of an audited call passes to the SQL function `finish`, for Effect and for other clients.
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
 * An SQL condition: whether the context is still the one that was set in the running transaction. It is not if the body ended
 * the transaction or ran RESET ALL: what it wrote since has no actor, and an action would have none.
 */
export const isContextKept =
  "pg_catalog.starts_with(pg_catalog.current_setting('threadline.context', true), " +
  "extract(epoch from pg_catalog.transaction_timestamp())::text || ' ')"

/** A document that ends a part. If none is open, `finish` raises TL004, which every client reports. */
export const refused = finishDocument(undefined, false, true)

/** The detail of `EndedByBody`. */
export const endedByBody =
  "the body ended the audited transaction, or its context, with a COMMIT, ROLLBACK or RESET ALL of its own"
