//! Which methods still have to succeed: pure. As sshd's `AuthenticationMethods`: of several lists one has to be gone through to
//! its end, in its order; each success moves every list forward that waits for it.

use containerssh_auth::Identity;
use containerssh_config::AuthenticationMethod as Method;

/// One connection's way through the lists.
#[derive(Debug)]
pub(super) struct Steps {
    /// The lists as configured.
    all: Vec<Vec<Method>>,
    /// What is left of each list.
    lists: Vec<Vec<Method>>,
    /// Who has taken the first step, and what is known of them.
    begun: Option<(String, Identity)>,
}

/// Whether a method may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Yes,
    /// It is not configured, or another one comes first.
    NotNow,
    /// Somebody else has taken the first steps.
    OtherUser,
}

/// What a success leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Another method has to succeed too.
    More,
    /// The method names somebody else than those before it.
    SomebodyElse,
    /// That was the last one.
    Complete(Box<Identity>),
}

impl Steps {
    pub(super) fn new(lists: &[Vec<Method>]) -> Self {
        Self { all: lists.to_vec(), lists: lists.to_vec(), begun: None }
    }

    /// The methods that may be tried now.
    pub(super) fn offered(&self) -> Vec<Method> {
        let mut offered = Vec::new();
        for method in self.lists.iter().filter_map(|list| list.first()) {
            if !offered.contains(method) {
                offered.push(*method);
            }
        }
        offered
    }

    pub(super) fn turn(&self, user: &str, method: Method) -> Turn {
        if self.begun.as_ref().is_some_and(|(begun, _)| begun != user) {
            Turn::OtherUser
        } else if self.offered().contains(&method) {
            Turn::Yes
        } else {
            Turn::NotNow
        }
    }

    /// A method has succeeded whose turn it was.
    pub(super) fn succeeded(&mut self, user: &str, method: Method, identity: Identity) -> Progress {
        let identity = match self.begun.take() {
            Some((user, earlier)) => {
                let (one, other) = (&earlier.authenticated_username, &identity.authenticated_username);
                if one != other && !one.is_empty() && !other.is_empty() {
                    self.begun = Some((user, earlier));
                    return Progress::SomebodyElse;
                }
                earlier.with(identity)
            }
            None => identity,
        };
        for list in &mut self.lists {
            if list.first() == Some(&method) {
                list.remove(0);
            }
        }
        if self.lists.iter().any(Vec::is_empty) {
            // Whoever is not let in all the same begins anew: a list that is done counts once.
            self.lists.clone_from(&self.all);
            return Progress::Complete(Box::new(identity));
        }
        self.begun = Some((user.to_owned(), identity));
        Progress::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Method::{KeyboardInteractive, Password, PublicKey};

    fn identity(name: &str) -> Identity {
        Identity { authenticated_username: name.to_owned(), ..Identity::default() }
    }

    #[test]
    fn any_one_of_single_methods_is_enough() {
        let mut steps = Steps::new(&[vec![PublicKey], vec![Password]]);
        assert_eq!(steps.offered(), [PublicKey, Password]);
        assert_eq!(steps.turn("a", KeyboardInteractive), Turn::NotNow);
        assert_eq!(
            steps.succeeded("a", Password, identity("a")),
            Progress::Complete(Box::new(identity("a")))
        );
    }

    #[test]
    fn a_list_is_gone_through_in_its_order() {
        let mut steps = Steps::new(&[vec![PublicKey, KeyboardInteractive]]);
        assert_eq!(steps.turn("a", KeyboardInteractive), Turn::NotNow);
        assert_eq!(steps.succeeded("a", PublicKey, identity("key")), Progress::More);
        assert_eq!(steps.offered(), [KeyboardInteractive]);
        assert_eq!(steps.turn("a", PublicKey), Turn::NotNow);
        let complete = steps.succeeded("a", KeyboardInteractive, identity(""));
        assert_eq!(complete, Progress::Complete(Box::new(identity("key"))));
    }

    #[test]
    fn nobody_goes_on_where_another_user_began() {
        let mut steps = Steps::new(&[vec![PublicKey, Password]]);
        assert_eq!(steps.succeeded("alice", PublicKey, identity("alice")), Progress::More);
        assert_eq!(steps.turn("bob", Password), Turn::OtherUser);
        assert_eq!(steps.turn("alice", Password), Turn::Yes);
    }

    #[test]
    fn methods_that_name_different_people_do_not_add_up() {
        let mut steps = Steps::new(&[vec![PublicKey, KeyboardInteractive]]);
        assert_eq!(steps.succeeded("alice", PublicKey, identity("alice")), Progress::More);
        assert_eq!(
            steps.succeeded("alice", KeyboardInteractive, identity("mallory")),
            Progress::SomebodyElse
        );
        assert_eq!(steps.turn("alice", KeyboardInteractive), Turn::Yes);
        assert!(matches!(
            steps.succeeded("alice", KeyboardInteractive, identity("alice")),
            Progress::Complete(_)
        ));
    }

    #[test]
    fn who_is_denied_in_the_end_begins_anew() {
        let mut steps = Steps::new(&[vec![Password], vec![PublicKey, KeyboardInteractive]]);
        assert!(matches!(steps.succeeded("a", Password, identity("a")), Progress::Complete(_)));
        assert_eq!(steps.succeeded("a", PublicKey, identity("a")), Progress::More);
        assert_eq!(steps.offered(), [Password, KeyboardInteractive]);
    }

    #[test]
    fn several_lists_move_forward_together() {
        let mut steps = Steps::new(&[
            vec![PublicKey, Password],
            vec![PublicKey, KeyboardInteractive],
            vec![Password, PublicKey],
        ]);
        assert_eq!(steps.offered(), [PublicKey, Password]);
        assert_eq!(steps.succeeded("a", PublicKey, identity("a")), Progress::More);
        assert_eq!(steps.offered(), [Password, KeyboardInteractive]);
        assert!(matches!(steps.succeeded("a", KeyboardInteractive, identity("a")), Progress::Complete(_)));
    }
}
