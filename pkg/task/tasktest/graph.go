package tasktest

import (
	"sync"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/task"
)

func dependsOn(k *kit) {
	a, b := k.submit(), k.submit()
	c := k.submit(after("", a, b, a))
	require.Equal(k, []string{a.ID, b.ID}, c.DependsOn)
	k.complete(a.ID)
	k.none(c.ID)
	k.restart()
	k.none(c.ID)
	k.complete(b.ID)
	k.complete(c.ID)
	k.complete(k.submit(after("", a, c)).ID)
}

func dependentsOfAFailedTask(k *kit) {
	a := k.submit()
	b := k.submit(after("", a))
	c := k.submit(after("", b))
	k.fail(a.ID)
	for _, t := range []task.Task{b, c} {
		require.Equal(k, task.CodeDependencyFailed, k.is(t.ID, task.Failed).Error.Code)
		require.NotContains(k, k.steps(t.ID), "claimed planning")
	}
	k.none("")
	late := k.submit(after("", a))
	k.is(late.ID, task.Failed)
	d := k.submit()
	e := k.submit(after("", d))
	_, err := k.Cancel(k.ctx, d.ID, "", "me")
	require.NoError(k, err)
	k.is(e.ID, task.Failed)
}

func dependencyPolicies(k *kit) {
	a := k.submit()
	fails, skips, runs := k.submit(after(task.OnFailureFail, a)), k.submit(after(task.OnFailureSkip, a)), k.submit(after(task.OnFailureRun, a))
	afterSkip := k.submit(after(task.OnFailureRun, skips))
	k.none(runs.ID)
	k.fail(a.ID)
	k.is(fails.ID, task.Failed)
	require.Equal(k, task.CodeDependencySkip, k.is(skips.ID, task.Cancelled).Error.Code)
	k.complete(runs.ID)
	k.complete(afterSkip.ID)
	b := k.submit()
	both := k.submit(after(task.OnFailureRun, a, b))
	k.none(both.ID)
	k.complete(b.ID)
	k.complete(both.ID)
}

// The original cannot resume a workflow of which a step is done: it is stuck.
func halfDoneWorkflowResumes(k *kit) {
	root := k.submit()
	one := k.submit(under(root))
	two := k.submit(under(root), after("", one))
	three := k.submit(under(root), after("", two))
	k.claim(root.ID)
	k.complete(one.ID)
	k.claim(two.ID)
	k.restart()
	k.complete(two.ID)
	k.restart()
	k.complete(three.ID)
	k.complete(root.ID)
	for _, t := range []task.Task{root, one, two, three} {
		k.is(t.ID, task.Completed)
	}
	require.Equal(k, 1, k.get(one.ID).Attempt, "what was done is not done again")
}

func parents(k *kit) {
	root := k.submit()
	parent := root
	for range task.DepthMax {
		parent = k.submit(under(parent))
	}
	require.Equal(k, task.DepthMax, parent.Depth)
	_, _, err := k.Submit(k.ctx, task.Request{ParentTaskID: parent.ID})
	require.ErrorIs(k, err, task.ErrInvalid)
	tree, _, err := k.List(k.ctx, task.Filter{RootID: root.ID}, task.Page{OldestFirst: true})
	require.NoError(k, err)
	require.Len(k, tree, task.DepthMax+1)
	require.Equal(k, root.ID, tree[0].ID)
	list, _, err := k.List(k.ctx, task.Filter{ParentTaskID: root.ID}, task.Page{})
	require.NoError(k, err)
	require.Len(k, list, 1)
	require.Equal(k, []string{"created pending", "child_added"}, k.steps(root.ID))
	require.NoError(k, k.claim(root.ID).Complete(k.ctx, task.Output{}), "a parent may end before its children")
	k.is(parent.ID, task.Pending)
}

func waiting(k *kit) {
	root := k.submit()
	l := k.claim(root.ID)
	child := k.submit(under(root))
	require.ErrorIs(k, l.Wait(k.ctx, task.Condition{Tasks: []string{"gone"}}), task.ErrNotFound)
	require.NoError(k, l.Wait(k.ctx, task.Condition{Tasks: []string{child.ID}}))
	k.ends(l, nil)
	require.ErrorIs(k, l.Complete(k.ctx, task.Output{}), task.ErrFenced)
	k.is(root.ID, task.Waiting)
	k.none(root.ID)
	k.restart()
	k.none(root.ID)
	k.fail(child.ID)
	l = k.claim(root.ID)
	require.Equal(k, 1, k.is(root.ID, task.Running).Attempt, "it goes on in the same attempt")

	require.NoError(k, l.Wait(k.ctx, task.Condition{Until: time.Now().Add(time.Hour)}))
	began := time.Now()
	l, err := k.Claim(k.ctx, task.ClaimOpts{TaskID: root.ID})
	require.NoError(k, err)
	require.Equal(k, time.Hour, time.Since(began).Round(10*time.Millisecond))

	require.NoError(k, l.Wait(k.ctx, task.Condition{}))
	time.Sleep(24 * time.Hour)
	k.none(root.ID)
	_, err = k.Resume(k.ctx, root.ID, "me")
	require.NoError(k, err)
	k.complete(root.ID)
	require.Equal(k, 1, k.get(root.ID).Attempt)
}

func priority(k *kit) {
	with := func(n int) func(*task.Request) { return func(q *task.Request) { q.Priority = n } }
	low, first, second, high := k.submit(with(-1)), k.submit(), k.submit(), k.submit(with(5))
	k.restart()
	for _, want := range []task.Task{high, first, second, low} {
		l := k.claim("")
		require.Equal(k, want.ID, l.Task().ID)
		require.NoError(k, l.Complete(k.ctx, task.Output{}))
	}
}

func sessionsAreSerial(k *kit) {
	a, b := k.submit(in("s")), k.submit(in("s"), func(q *task.Request) { q.Priority = 9 })
	other := k.submit(in("other"))
	command := k.submit(in("s"), func(q *task.Request) { q.Concurrent = true })
	l := k.claim(a.ID)
	k.none(b.ID)
	k.complete(other.ID)
	k.complete(command.ID)
	k.none("")
	require.NoError(k, l.Wait(k.ctx, task.Condition{Until: time.Now().Add(time.Hour)}))
	k.none(b.ID)
	k.restart()
	k.none(b.ID)
	time.Sleep(time.Hour)
	k.complete(a.ID)
	c := k.submit(in("s"))
	k.none(c.ID)
	k.complete(b.ID)
	k.complete(c.ID)
}

func childrenShareThePlace(k *kit) {
	root := k.submit(in("s"))
	next := k.submit(in("s"))
	l := k.claim(root.ID)
	one, two := k.submit(in("s"), under(root)), k.submit(in("s"), under(root))
	k.none(next.ID)
	k.none(two.ID)
	require.NoError(k, l.Wait(k.ctx, task.Condition{Tasks: []string{one.ID, two.ID}}))
	k.restart()
	k.none(two.ID)
	k.complete(one.ID)
	held := k.claim(two.ID)
	k.none(next.ID)
	require.NoError(k, held.Complete(k.ctx, task.Output{}))
	l = k.claim(root.ID)
	left := k.submit(in("s"), under(root), func(q *task.Request) { q.Detach = true })
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	k.none(next.ID)
	k.complete(left.ID)
	k.complete(next.ID)

	// A parent waits for its grandchild; the task between them, and then a root above
	// them all, end first. Nobody must wait for somebody who waits for him.
	top := k.submit(in("s"))
	behind := k.submit(in("s"))
	l = k.claim(top.ID)
	parent := k.submit(in("s"), under(top), func(q *task.Request) { q.Detach = true })
	held = k.claim(parent.ID)
	child := k.submit(in("s"), under(parent))
	middle := k.claim(child.ID)
	grandchild := k.submit(in("s"), under(child))
	require.NoError(k, middle.Complete(k.ctx, task.Output{}))
	require.NoError(k, held.Wait(k.ctx, task.Condition{Tasks: []string{grandchild.ID}}))
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	k.restart()
	k.none(behind.ID)
	k.none(parent.ID)
	k.complete(grandchild.ID)
	k.complete(parent.ID)
	k.complete(behind.ID)
}

func limits(k *kit) {
	k.with(Options{RunningMax: 2, AgentMax: 1, OpenMax: 5})
	of := func(agent string) func(*task.Request) { return func(q *task.Request) { q.AgentID = agent } }
	a1, a2, b := k.submit(of("a")), k.submit(of("a")), k.submit(of("b"))
	c := k.submit(of("c"))
	l := k.claim("")
	require.Equal(k, a1.ID, l.Task().ID)
	k.none(a2.ID)
	lb := k.claim("")
	require.Equal(k, b.ID, lb.Task().ID, "another agent goes first")
	k.none("")
	k.none(c.ID)
	k.submit()
	_, _, err := k.Submit(k.ctx, task.Request{})
	require.ErrorIs(k, err, task.ErrFull)
	require.NoError(k, lb.Complete(k.ctx, task.Output{}))
	k.complete(c.ID)
	var got task.Lease
	var wg sync.WaitGroup
	wg.Go(func() { got = k.claim(a2.ID) })
	synctest.Wait()
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	wg.Wait()
	require.Equal(k, a2.ID, got.Task().ID, "who waits for a limit gets its turn")
}

func capabilities(k *kit) {
	t := k.submit(func(q *task.Request) { q.Capabilities = []string{"go", "web"} })
	_, err := k.Claim(k.ctx, task.ClaimOpts{Capabilities: []string{"go"}, Wait: time.Second})
	require.ErrorIs(k, err, task.ErrNone)
	l, err := k.Claim(k.ctx, task.ClaimOpts{Capabilities: []string{"c", "web", "go"}, Wait: time.Second})
	require.NoError(k, err)
	require.Equal(k, t.ID, l.Task().ID)
	chat := k.submit(func(q *task.Request) { q.Key.Namespace = task.NamespaceChat })
	k.none("")
	l, err = k.Claim(k.ctx, task.ClaimOpts{Namespaces: []task.Namespace{task.NamespaceChat}, Wait: time.Second})
	require.NoError(k, err)
	require.Equal(k, chat.ID, l.Task().ID)
}
