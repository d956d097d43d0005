//! Roles that change with the room and not with the occupant: it becomes moderated, or is no more, or is known to be only after the join.

use std::sync::Arc;

use isthmus_bridge::room::{Member, Rank, RoomView};
use isthmus_bridge::{Full, SessionOf};

use super::{Reach, Rooms};
use crate::rooms::occupancy::{Place, Stay};
use crate::rooms::rank;
use crate::rooms::show::{self, Whose};

/// Occupants that are shown at a time.
const STEP: usize = 200;

impl Rooms<'_> {
    /// Shows those anew whose role is another, once. Where the link is full it goes on from there when it is told again.
    pub(super) fn roles(&self, of: &SessionOf, stay: &mut Stay, view: &RoomView) -> Result<(), Full> {
        let moderated = rank::modes(&view.modes).moderated;
        if moderated != stay.moderated {
            (stay.moderated, stay.reshown) = (moderated, Some("".into()));
        }
        while let Some(after) = stay.reshown.as_deref() {
            let others = view.members_after(Some(after)).iter().filter(|m| depends(m.rank));
            let piece: Vec<Member> = others.take(STEP).cloned().collect();
            let Some(last) = piece.last() else {
                stay.reshown = None;
                break;
            };
            let (room, jid, own) = (stay.room.clone(), stay.jid.clone(), stay.nick.clone());
            // A list that is not begun will be right; in one that is, own presence is still to come, as the last one (XEP-0045 section 7.2.2).
            let (begun, untold) = arriving(stay);
            self.staged(of, &room, &jid, &view.modes, |stage| {
                self.tell(of, stay, Reach::Presence, |w, to| {
                    for member in piece.iter().filter(|_| !untold.iter().any(|jid| **jid == *to)) {
                        let is_own = own.eq_ignore_ascii_case(member.nick());
                        if is_own && begun.iter().any(|jid| **jid == *to) {
                            continue;
                        }
                        let whose = if is_own { Whose::OWN } else { Whose::Other };
                        show::present(w, stage, to, member, whose, None);
                    }
                })
            })?;
            stay.reshown = Some(last.person.key().into());
        }
        Ok(())
    }
}

/// The resources whose list of occupants is being written, and those whose list is not begun.
fn arriving(stay: &Stay) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
    let all = stay.inside.iter().filter_map(|resource| match &resource.place {
        Place::Arriving(arrival) => Some((arrival.after.is_some(), resource.jid.clone())),
        _ => None,
    });
    let (begun, untold): (Vec<_>, Vec<_>) = all.partition(|(begun, _)| *begun);
    let jids = |all: Vec<(bool, Arc<str>)>| all.into_iter().map(|(_, jid)| jid).collect();
    (jids(begun), jids(untold))
}

/// Whether the role of this rank depends on the room's being moderated.
fn depends(rank: Rank) -> bool {
    rank::item(rank, true) != rank::item(rank, false)
}
