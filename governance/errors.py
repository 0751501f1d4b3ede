"""What can go wrong between a member and the DAO."""

from __future__ import annotations

from marina.errors import DamagedError, NotFoundError, NotPermittedError, UsageError


class OutOfBoundsError(UsageError):
    """A parameter would get a value that the DAO's contracts or this client refuse."""

    code = "out_of_bounds"


class UnknownProposalError(NotFoundError):
    """The governor knows no such proposal."""

    code = "unknown_proposal"


class WrongStateError(NotPermittedError):
    """The proposal is not in the state that the action needs."""

    code = "wrong_state"


class NotEnoughVotesError(NotPermittedError):
    """The account has fewer votes than the action needs."""

    code = "not_enough_votes"


class WrongListError(DamagedError):
    """A moderation list is not the one whose digest the DAO adopted."""

    code = "wrong_moderation_list"
