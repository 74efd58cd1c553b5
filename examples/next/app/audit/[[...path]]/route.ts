/** The pages for operators under `/audit`. Only staff is let in. */
import { Actor } from "threadline"
import { OperatorSurface } from "threadline/operator"
import { AuditLive } from "../../../lib/database"
import { sessionOf } from "../../../lib/session"

const { handler } = OperatorSurface.toWebHandler(AuditLive, {
  authorize: (request) => {
    const session = sessionOf(request)
    return session === undefined
      ? new OperatorSurface.Denied({ reason: "Unauthenticated", signIn: "/sign-in" })
      : session.isStaff
        ? {
            viewer: Actor.admin(session.id, { label: session.name }),
            scope: "everything",
            capabilities: ["export", "coverage"]
          }
        : undefined
  }
})

export { handler as GET, handler as HEAD, handler as POST }
