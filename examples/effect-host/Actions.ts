/** What people and jobs do here, by name. The tenant is part of each, so that a scope can tell whose it is. */
import * as Schema from "effect/Schema"
import { Semantics } from "threadline"

const data = Schema.Struct({ tenant: Schema.String })

export const Actions = Semantics.catalogue({
  "invoice.created": { data },
  "invoice.paid": { data },
  "receipt.sent": { data },
  "user.signed-in": { data }
})

export const ofInvoice = (id: number) => ({ subject: { type: "invoice", id: String(id) } })
